"""Facts about groups and tags: records keep them, and queries find records by them."""

from typing import Any

import pytest

from swarm_persistence import (
    AgentModel,
    DocumentModel,
    EventModel,
    InvalidQueryError,
    MessageModel,
    MetricModel,
    QueryBuilder,
    SerializationError,
    Storage,
    TaskModel,
)
from swarm_persistence_conformance.records import a_message, a_metric, a_task, an_agent, an_event, ids

MAKERS: dict[type[Any], Any] = {
    AgentModel: an_agent,
    TaskModel: a_task,
    EventModel: an_event,
    MessageModel: a_message,
    MetricModel: a_metric,
}
TAGS = [
    {"run": "1"},
    {"run": "12"},
    {"run": "1", "zone": 'a"b'},
    {"zone": '","run":"1'},
    {'"run"': "1"},
    {"run\\": '1"', "": ""},
    {"é": "ü\n", "nul": "\0"},
    {"a": '1","run":"1'},
    {},
]
"""Tags of which some look like others in JSON."""


async def found(storage: Storage, query: QueryBuilder[Any]) -> list[str]:
    """Return the ids of the records that match a query."""
    return ids(await storage.repository(query.query.table.model).query(query))


@pytest.mark.asyncio
class TestGroups:
    """Groups and tags."""

    @pytest.mark.parametrize("model", MAKERS, ids=lambda model: model.__name__)
    async def test_records_of_a_group_are_found(self, storage: Storage, model: type[Any]) -> None:
        groups = ["a", "A", "b", None, "", "a", "'\"", "é" * 300, "é" * 300 + "e"]
        await storage.store_many([MAKERS[model](f"{place}", group=group) for place, group in enumerate(groups)])

        query = QueryBuilder(model)
        for group in groups:
            same = [str(place) for place, other in enumerate(groups) if other == group]
            chosen = query.where_null("group") if group is None else query.where_eq("group", group)
            assert await found(storage, chosen) == same
        assert await found(storage, query.where_in("group", ["b", "a"]).order_by("group", desc=True)) == ["2", "5", "0"]
        assert await found(storage, query.where_like("group", "a%")) == ["0", "1", "5"]
        assert await storage.count_by(query.where_in("group", ["a", "b"]), "group") == {("a",): 2, ("b",): 1}

    @pytest.mark.parametrize("model", MAKERS, ids=lambda model: model.__name__)
    async def test_records_with_a_tag_are_found(self, storage: Storage, model: type[Any]) -> None:
        await storage.store_many([MAKERS[model](f"{place}", tags=tags) for place, tags in enumerate(TAGS)])

        for key, value in {pair for tags in TAGS for pair in tags.items()}:
            same = [str(place) for place, tags in enumerate(TAGS) if tags.get(key) == value]
            # No query can ask for a NUL, which PostgreSQL has no text with.
            if "\0" not in value:
                assert await found(storage, QueryBuilder(model).where_tag(key, value)) == same
        both = QueryBuilder(model).where_tag("run", "1").where_tag("zone", 'a"b')
        assert await found(storage, both) == ["2"]
        assert await found(storage, QueryBuilder(model).where_tag("run", "2")) == []

    @pytest.mark.parametrize("model", MAKERS, ids=lambda model: model.__name__)
    async def test_builders_set_the_group_and_add_tags(self, storage: Storage, model: type[Any]) -> None:
        plain = MAKERS[model]("1")
        record = plain.with_group("a").with_tags({"run": "1", "zone": "b"}).with_tags({"run": "2"})
        await storage.store_many([record])

        (stored,) = await storage.repository(model).find_all()

        assert (stored.group, stored.tags) == ("a", {"run": "2", "zone": "b"})
        assert (plain.group, plain.tags) == (None, {})

    async def test_a_group_outlives_updates_and_claims(self, storage: Storage) -> None:
        await storage.store_task(a_task(group="a", tags={"run": "1"}))

        claimed = await storage.claim_next_task("agent-1")
        assert claimed is not None
        assert (claimed.group, claimed.tags) == ("a", {"run": "1"})
        claimed.group = "b"
        await storage.update_task(claimed)

        assert await found(storage, QueryBuilder(TaskModel).where_eq("group", "b")) == ["task-1"]
        assert await found(storage, QueryBuilder(TaskModel).where_eq("group", "a")) == []

    @pytest.mark.parametrize(("key", "value"), [(7, "a"), ("a", 7), ("a\0", "a"), ("a", "\ud800"), (None, None)])
    async def test_a_tag_that_is_no_text_is_refused(self, storage: Storage, key: Any, value: Any) -> None:
        with pytest.raises(SerializationError, match="tag"):
            QueryBuilder(TaskModel).where_tag(key, value)
        if "\0" not in str(key):
            with pytest.raises(SerializationError, match=r"task\.tags"):
                await storage.store_task(a_task(tags={key: value}))

    async def test_a_tag_that_others_look_like_is_refused_and_documents_have_none(self, storage: Storage) -> None:
        await storage.store_task(a_task(tags={":": ","}))
        for key, value in ((":", ","), (",", ":")):
            with pytest.raises(InvalidQueryError, match="look like it"):
                QueryBuilder(TaskModel).where_tag(key, value)
        with pytest.raises(InvalidQueryError, match="no field 'tags'"):
            QueryBuilder(DocumentModel).where_tag("a", "b")
        assert await found(storage, QueryBuilder(TaskModel).where_tag(":", "x")) == []

    @pytest.mark.parametrize("group", [7, b"a", "a\0", "\ud800"])
    async def test_a_group_that_is_no_text_is_refused(self, storage: Storage, group: Any) -> None:
        with pytest.raises(SerializationError, match=r"event\.group"):
            await storage.store_event(an_event(group=group))
