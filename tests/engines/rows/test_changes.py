"""What each step of a write gives and leaves, and that a write is done as a whole or not at all."""

from typing import Any

import pytest

from swarm_persistence.engines.reads import Count, Select, Values
from swarm_persistence.engines.rows.memory.engine import MemoryEngine
from swarm_persistence.engines.rows.tables import RowTable
from swarm_persistence.engines.steps import (
    MOST_COUNTED,
    Claim,
    CountOf,
    Delete,
    Increment,
    Insert,
    Replace,
    Save,
    Step,
    Unlink,
    Update,
)
from swarm_persistence.errors import ConflictError, SerializationError
from swarm_persistence.models import AgentModel, EventModel, MessageModel, TaskModel, TaskPriority
from swarm_persistence.models.links import TaskLink
from swarm_persistence.query.query import Condition, Order, Query
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import AGENTS, EVENTS, TABLES, TASK_LINKS, TASKS, UNMET_DEPENDENCIES


@pytest.fixture
def engine() -> MemoryEngine:
    return MemoryEngine(connection_timeout=30, transaction_timeout=30)


def task(id: str, **fields: Any) -> TaskModel:
    return TaskModel(id=id, task_type="t", **fields)


def event(id: str) -> EventModel:
    return EventModel(id=id, event_type="e")


async def everything(engine: MemoryEngine) -> list[Any]:
    return [await engine.read(Select(Query(table))) for table in (AGENTS, TASKS, EVENTS)]


async def test_an_insert_gives_a_sequence_that_is_never_given_again(engine: MemoryEngine) -> None:
    first, second = await engine.write([Insert(event("a")), Insert(event("b"))])
    await engine.write([Delete(Query(EVENTS))])

    (third,) = await engine.write([Insert(event("b"))])

    assert first < second < third


async def test_an_insert_of_a_known_id_names_it_and_the_remedy(engine: MemoryEngine) -> None:
    await engine.write([Insert(task("t7"))])

    with pytest.raises(ConflictError, match=r"task 't7' exists already; update_task replaces it"):
        await engine.write([Insert(task("t7", error="other"))])

    assert [stored.error for stored in await engine.read(Select(Query(TASKS)))] == [None]


async def test_a_save_replaces_its_own_version_only_and_keeps_the_place(engine: MemoryEngine) -> None:
    results = await engine.write(
        [
            Save(task("a")),
            Save(task("b")),
            Save(task("a", version=1, error="new")),
            Save(task("a", version=1, error="late")),
        ]
    )

    assert results == [1, 1, 1, 0]
    assert [(stored.id, stored.error, stored.version) for stored in await engine.read(Select(Query(TASKS)))] == [
        ("a", "new", 2),
        ("b", None, 1),
    ]


async def test_a_replace_gives_the_version_and_a_forced_one_counts_from_the_stored(engine: MemoryEngine) -> None:
    results = await engine.write(
        [
            Insert(task("a")),
            Replace(task("a", version=1)),
            Replace(task("a", version=1)),
            Replace(task("a", version=40), is_forced=True),
            Replace(task("none"), is_forced=True),
        ]
    )

    assert results[1:] == [2, None, 3, None]
    assert [stored.version for stored in await engine.read(Select(Query(TASKS)))] == [3]


async def test_a_replace_of_a_record_without_versions_gives_0(engine: MemoryEngine) -> None:
    message = MessageModel(from_agent="a", to_agent="b", message_type="m")
    await engine.write([Insert(message)])

    assert await engine.write([Replace(message)]) == [0]


async def test_an_update_with_a_limit_changes_the_first_rows(engine: MemoryEngine) -> None:
    await engine.write([Insert(task(id)) for id in "abc"])

    results = await engine.write([Update(Query(TASKS, (), (Order("id", is_descending=True),), 2), {"error": "e"})])

    assert results == [2]
    assert [(stored.id, stored.error) for stored in await engine.read(Select(Query(TASKS)))] == [
        ("a", None),
        ("b", "e"),
        ("c", "e"),
    ]


async def test_an_update_counts_its_rows_and_a_delete_does_so_whatever_the_limit(engine: MemoryEngine) -> None:
    await engine.write([Insert(task(id)) for id in "abc"])

    results = await engine.write(
        [
            Update(Query(TASKS, (), (Order("id"),)), {"retry_count": Increment(2), "error": "e"}),
            Delete(Query(TASKS, (Condition("retry_count", "=", 2), Condition("id", "IN", ("a", "b"))), (), 1, 1)),
        ]
    )

    assert results == [3, 2]
    assert [(stored.id, stored.retry_count, stored.error) for stored in await engine.read(Select(Query(TASKS)))] == [
        ("c", 2, "e")
    ]


async def test_a_claim_gives_the_first_changed_records_in_order(engine: MemoryEngine) -> None:
    priorities = {"a": TaskPriority.LOW, "b": TaskPriority.CRITICAL, "c": TaskPriority.HIGH}
    await engine.write([Insert(task(id, priority=priority)) for id, priority in priorities.items()])
    ready = Query(TASKS, (Condition("status", "=", "pending"),), (Order("priority", True),), 2)
    claim = Claim(ready, {"status": "assigned", "assigned_to": "me", "version": Increment()})

    first, second = await engine.write([claim, claim])

    assert [(claimed.id, claimed.assigned_to, claimed.version) for claimed in first] == [("b", "me", 2), ("c", "me", 2)]
    assert [claimed.id for claimed in second] == ["a"]


@pytest.mark.parametrize(
    "last", [Insert(task("a")), Claim(Query(TASKS), {"status": "no such status"})], ids=["conflict", "unreadable"]
)
async def test_a_write_that_fails_leaves_nothing_of_itself(engine: MemoryEngine, last: Step) -> None:
    await engine.write([Insert(task("a")), Insert(task("b")), Insert(event("e"))])
    before = await everything(engine)
    steps: list[Step] = [
        Insert(AgentModel(id="x", name="x", agent_type="t")),
        Insert(event("f")),
        Update(Query(TASKS), {"assigned_to": "x", "status": "running"}),
        Replace(task("a", error="e"), is_forced=True),
        Save(task("c")),
        Delete(Query(TASKS, (Condition("id", "=", "b"),))),
        Insert(task("b")),
        Delete(Query(EVENTS)),
    ]

    with pytest.raises((ConflictError, SerializationError)):
        await engine.write([*steps, last])

    assert await everything(engine) == before
    pending = Query(TASKS, (Condition("status", "=", "pending"),), (Order("priority", True), Order("created_at")))
    assert [stored.id for stored in await engine.read(Select(pending))] == ["a", "b"]
    assert await engine.read(Count(Query(TASKS, (Condition("assigned_to", "=", "x"),)))) == 0
    (sequence,) = await engine.write([Insert(event("f"))])
    assert sequence == before[2][0].sequence + 1


async def test_a_value_that_no_column_holds_is_refused_before_anything_changes(engine: MemoryEngine) -> None:
    with pytest.raises(SerializationError, match=r"task\.retry_count"):
        await engine.write([Insert(task("a")), Insert(task("b", retry_count=-1))])

    assert await engine.read(Count(Query(TASKS))) == 0


async def test_the_id_of_a_deleted_record_is_free_within_the_same_write(engine: MemoryEngine) -> None:
    await engine.write([Insert(task("a")), Insert(task("b"))])

    await engine.write([Delete(Query(TASKS, (Condition("id", "=", "a"),))), Insert(task("a"))])

    assert [stored.id for stored in await engine.read(Select(Query(TASKS)))] == ["b", "a"]


class RecordedTable(RowTable):
    """Counts the rows that are read by id or written."""

    touched = 0

    def get(self, id: str) -> Row | None:
        self.touched += 1
        return super().get(id)

    def change(self, before: Row, after: Row) -> None:
        self.touched += 1
        super().change(before, after)


async def test_links_are_counted_once_they_are_few_and_a_row_with_many_is_not_touched() -> None:
    tables: dict[str, RowTable] = {table.name: RecordedTable(table) for table in TABLES}
    engine = MemoryEngine(connection_timeout=30, transaction_timeout=30, tables=tables)
    names = [f"{number}" for number in range(MOST_COUNTED + 3)]
    await engine.write(
        [Insert(task("t", dependencies=names)), *(Insert(TaskLink.between("t", name)) for name in names)]
    )
    await engine.write([Update(Query(TASKS), {UNMET_DEPENDENCIES: CountOf(TASK_LINKS, "task_id")})])
    tasks = tables[TASKS.name]
    assert isinstance(tasks, RecordedTable)

    counted, touched = [], []
    for name in names:
        links = Query(TASK_LINKS, (Condition("dependency_id", "=", name),))
        before = tasks.touched
        assert await engine.write([Unlink(links, "task_id", TASKS, UNMET_DEPENDENCIES)]) == [1]
        touched.append(tasks.touched - before)
        counted += [row[0] for row in await engine.read(Values(Query(TASKS), (UNMET_DEPENDENCIES,)))]

    assert counted == [MOST_COUNTED + 3, MOST_COUNTED + 3, *range(MOST_COUNTED, -1, -1)]
    assert touched == [0, 0, *[2] * (MOST_COUNTED + 1)]
