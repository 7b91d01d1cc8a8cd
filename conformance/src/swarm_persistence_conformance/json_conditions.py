"""Facts about the conditions on values within JSON."""

import asyncio
import operator
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from swarm_persistence import DocumentModel, MetricModel, QueryBuilder, Storage, TaskModel
from swarm_persistence_conformance.records import a_document, a_metric, a_task

NUMBERS: list[Any] = [
    *(0, -0.0, 1, 1.0, 1.5, -1, 0.1 + 0.2, 5e-324, 1.7976931348623157e308),
    *(2**53, 2.0**53, 2**53 + 1, 2**63 - 1, 2**63, 2.0**63, -(2**63), 10**23, 1e23, 10**400, -(10**400)),
]
TEXTS = [
    *("", "0", "1", "true", "null", "a", "A", "á", "a\u0301", "\ufffd", "\U0001f600", "[1]", "{}", '"', "\\"),
    *("\0", "\x01", "\x01\x01", "\x01\x02", "\x02", "a\0", "a\0b", "\\u0000", "\\\0"),
]
OTHERS: list[Any] = [None, True, False, [], [1], ["a"], {}, {"a": 1}]
VALUES = [*NUMBERS, *TEXTS, *OTHERS]
KEYS = [
    *("a.b", 'a"b', "a'b", "a\\b", "", "0", "[0]", "$", "a]b", "#", "é", "\U0001f600", "\n", "%s", "?", "{}"),
    *("\0", "\x01", "\x01\x01", "\x01\x02", "\\u0000"),
]


async def found(storage: Storage, path: Sequence[str] | str, name: Any, value: Any) -> list[int]:
    """Return the numbers of the documents whose value matches."""
    query = QueryBuilder(DocumentModel).where_json("value", path, name, value).order_by("id")
    return [int(each.key) for each in await storage.repository(DocumentModel).query(query)]


async def assert_all_compare(storage: Storage, operands: Sequence[Any], names: Sequence[str]) -> None:
    """Store every value, and fail if a comparison with an operand finds others than the documentation says."""
    documents = [a_document(f"{place:03}", value={"of": {"it": value}}) for place, value in enumerate(VALUES)]
    missing: list[Any] = [None, {}, {"of": 1}, {"of": "it"}, {"of": ["it"]}, {"of": {"It": 1}}, [], 5, "it"]
    await storage.put_documents([*documents, *(a_document(f"{900 + n}", value=v) for n, v in enumerate(missing))])
    asked = [(name, operand) for operand in operands for name in names]

    answers = await asyncio.gather(*(found(storage, ["of", "it"], *each) for each in asked))

    for (name, operand), answer in zip(asked, answers, strict=True):
        wanted = [place for place, value in enumerate(VALUES) if matches(value, name, operand)]
        assert answer == wanted, (name, operand, [VALUES[place] for place in {*answer} ^ {*wanted} if place < 900])


def matches(value: Any, name: str, operand: Any) -> bool:
    """Tell whether a value matches, by the words of the documentation."""
    if value is None:
        return False
    if type_of(value) is not type_of(operand):
        return name == "ne"
    result: bool = getattr(operator, name)(shown(value), shown(operand))
    return result


def type_of(value: Any) -> type:
    """Return the type that JSON gives a value."""
    return float if type(value) is int else type(value)


def shown(value: Any) -> Any:
    """Return a number as the decimal number that its JSON shows."""
    return Decimal(repr(value)) if type_of(value) is float else value


@pytest.mark.asyncio
class TestJsonConditions:
    """`where_json` finds the same on every engine."""

    @pytest.mark.parametrize("name", ["eq", "ne", "gt", "le"])
    async def test_numbers_are_compared_by_the_digits_that_they_show(self, storage: Storage, name: str) -> None:
        await assert_all_compare(storage, NUMBERS, [name])

    @pytest.mark.parametrize("name", ["eq", "ne", "ge", "lt"])
    async def test_texts_are_compared_by_code_point(self, storage: Storage, name: str) -> None:
        await assert_all_compare(storage, TEXTS, [name])

    async def test_true_and_false_equal_no_number_and_no_text(self, storage: Storage) -> None:
        await assert_all_compare(storage, [True, False], ["eq", "ne"])

    async def test_any_text_may_be_a_key(self, storage: Storage) -> None:
        flat = {key: place for place, key in enumerate(KEYS)}
        await storage.put_documents([a_document("1", value=flat), a_document("2", value={"in": {"it": flat}})])

        asked = [(path, place) for place, key in enumerate(KEYS) for path in ([key], ["in", "it", key])]
        answers = await asyncio.gather(*(found(storage, path, "eq", place) for path, place in asked))

        assert answers == [[1], [2]] * len(KEYS)

    async def test_a_key_does_not_end_at_a_nul(self, storage: Storage) -> None:
        values = ({"\0": 1}, {"\0\0": 1}, {"": 1}, {"a": 1}, {"a\0b": 1}, {"a\0c": 1})
        await storage.put_documents([a_document(f"{place}", value=value) for place, value in enumerate(values)])

        for place, value in enumerate(values):
            assert await found(storage, [*value], "eq", 1) == [place]

    async def test_a_text_is_one_key_and_no_path(self, storage: Storage) -> None:
        await storage.put_documents([a_document("1", value={"a.b": 1}), a_document("2", value={"a": {"b": 1}})])

        assert await found(storage, "a.b", "eq", 1) == [1]
        assert await found(storage, ["a", "b"], "eq", 1) == [2]

    async def test_a_number_is_no_place_in_a_list(self, storage: Storage) -> None:
        await storage.put_documents([a_document("1", value=["x"]), a_document("2", value={"0": "x"})])

        assert await found(storage, "0", "eq", "x") == [2]

    async def test_an_empty_path_is_the_whole_value(self, storage: Storage) -> None:
        await storage.put_documents([a_document("1", value="x"), a_document("2", value=5), a_document("3", value=True)])

        assert await found(storage, [], "eq", "x") == [1]
        assert await found(storage, [], "gt", 4) == [2]
        assert await found(storage, (), "ne", "x") == [2, 3]

    async def test_it_joins_other_conditions_orders_and_limits(self, storage: Storage) -> None:
        tasks = [a_task(f"{n}", payload={"n": n, "even": n % 2 == 0}, retry_count=n // 4) for n in range(10)]
        await storage.store_many(tasks)
        query = QueryBuilder(TaskModel).where_json("payload", "n", "ge", 2).where_json("payload", "even", "eq", True)
        repository = storage.repository(TaskModel)

        last = query.where_lt("retry_count", 2).order_by("retry_count", desc=True).order_by("id").limit(2)

        assert [task.id for task in await repository.query(last)] == ["4", "6"]
        assert await repository.count(query) == 4
        assert await storage.delete_where(query) == 4
        assert len(await repository.find_all()) == 6

    async def test_tags_are_json_too(self, storage: Storage) -> None:
        await storage.store_many([a_metric("1", tags={"zone": "a"}), a_metric("2", tags={"zone": "b"}), a_metric("3")])

        query = QueryBuilder(MetricModel).where_json("tags", "zone", "gt", "a")

        assert [metric.id for metric in await storage.repository(MetricModel).query(query)] == ["2"]

    async def test_a_transaction_finds_its_own_writes(self, storage: Storage) -> None:
        await storage.put_documents([a_document("1", value={"a": 1})])
        async with storage.transaction():
            await storage.put_documents([a_document("1", value={"a": 2}), a_document("2", value={"a": 1})])
            assert await found(storage, "a", "eq", 1) == [2]
            assert await found(storage, "a", "eq", 2) == [1]
