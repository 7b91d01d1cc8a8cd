"""Facts about hostile values: a verb either refuses them with a `StorageError` or stores them faithfully.

Some are nested thousands deep, or raise in `repr`; others are instances of subclasses that misrepresent themselves, and
come back as plain values.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from enum import Enum, IntEnum, StrEnum
from typing import Any

import msgspec
import pytest

from swarm_persistence import MetricModel, Model, QueryBuilder, Storage, StorageError, TaskModel
from swarm_persistence.testing import ManualClock
from swarm_persistence_conformance.fixtures import OpenStorage
from swarm_persistence_conformance.records import MODELS, a_metric, a_task, complete_records, everything_in
from swarm_persistence_conformance.values import nested
from swarm_persistence_conformance.verbs import arguments, call, store_records


class MisleadingText(str):
    """A string whose `str` and `repr` show another one."""

    __slots__ = ()

    def __str__(self) -> str:
        return "shown"

    def __repr__(self) -> str:
        return "shown"

    def __format__(self, format_spec: str) -> str:
        return "shown"

    def __len__(self) -> int:
        return 0


class IntSubclass(int):
    """A subclass of int."""


class FloatSubclass(float):
    """A subclass of float."""


class TextMember(StrEnum):
    """A string enum."""

    RED = "red"


class IntMember(IntEnum):
    """An integer enum."""

    LARGE = 3


class OldTextMember(str, Enum):  # noqa: UP042 - members of such classes show themselves otherwise than a StrEnum's
    """A string enum in the style of older programs."""

    RED = "red"


class Unprintable:
    """A value whose `repr` raises."""

    def __repr__(self) -> str:
        raise OSError("the value is not there any more")


def _deep_tuples() -> Any:
    value: Any = ()
    for _ in range(10_000):
        value = (value,)
    return value


HOSTILE: dict[str, Any] = {
    "lists and dicts, 10,000 deep": nested(10_000),
    "tuples, 10,000 deep": _deep_tuples(),
    "what cannot be shown": Unprintable(),
    "an object": object(),
    "a class": dict,
    "bytes": b"bytes",
    "a text with NUL": "\0",
    "a set of texts": {"a"},
    "no value": None,
    "a long number": 10**5_000,
}


def subclassed(value: Any) -> Any:
    """Return the value with every string in it, keys included, as an instance of a subclass."""
    match value:
        case Enum() | bool() | type() | None:
            return value
        case str():
            return MisleadingText(value)
        case list():
            return [subclassed(part) for part in value]
        case dict():
            return {subclassed(key): subclassed(part) for key, part in value.items()}
        case Model():
            fields = {name: subclassed(getattr(value, name)) for name in value.__struct_fields__}
            return type(value)(**fields)
    return value


def subclasses_in(value: Any) -> Iterator[Any]:
    """Yield every string or number in a value that is an instance of a subclass."""
    match value:
        case Enum() | bool() | None:
            return
        case str() | int() | float():
            if type(value) not in (str, int, float):
                yield value
        case list() | tuple():
            for part in value:
                yield from subclasses_in(part)
        case dict():
            for part in (*value, *value.values()):
                yield from subclasses_in(part)
        case msgspec.Struct():
            for name in value.__struct_fields__:
                yield from subclasses_in(getattr(value, name))


_WITH_TEXT = [verb for verb, values in arguments().items() if [*subclasses_in(subclassed([*values.values()]))] != []]


@pytest.mark.asyncio
class TestHostileValues:
    """Every verb refuses a hostile value or stores it faithfully."""

    @pytest.mark.parametrize("verb", [verb for verb, values in arguments().items() if values])
    async def test_no_argument_raises_any_error_but_ours(self, storage: Storage, verb: str) -> None:
        await store_records(storage)
        records = _Records(storage)
        for argument in arguments()[verb].keys() - {"function"}:  # an exception of the caller's function passes through
            for value in HOSTILE.values():
                async with records.left_alone_if_refused():
                    await call(storage, verb, {**arguments()[verb], argument: value})

    @pytest.mark.parametrize("value", HOSTILE)
    @pytest.mark.parametrize("record", complete_records(), ids=lambda record: type(record).__name__)
    async def test_no_field_raises_any_error_but_ours(self, storage: Storage, record: Model, value: str) -> None:
        records = _Records(storage)
        for field in record.__struct_fields__:
            hostile = msgspec.structs.replace(record, **{field: HOSTILE[value]})
            for models in ([hostile], [hostile, *complete_records()]):
                async with records.left_alone_if_refused():
                    await storage.store_many(models)

    @pytest.mark.parametrize("value", HOSTILE)
    async def test_no_query_raises_any_error_but_ours(self, value: str) -> None:
        hostile = HOSTILE[value]
        fields = [name for model in MODELS for name in model.__struct_fields__]
        for model in MODELS:
            query = QueryBuilder(model)
            comparisons = [
                query.where_eq,
                query.where_ne,
                query.where_gt,
                query.where_ge,
                query.where_lt,
                query.where_le,
            ]
            for step in (*comparisons, query.where_like, query.where_in):
                for field in (hostile, *fields):
                    with suppress(StorageError):
                        step(field, hostile)
                    with suppress(StorageError):
                        query.where_in(field, [hostile])
            for single in (query.where_null, query.where_not_null, query.order_by, query.limit, query.offset):
                with suppress(StorageError):
                    single(hostile)
        with suppress(StorageError):
            QueryBuilder(hostile)

    @pytest.mark.parametrize("record", complete_records(), ids=lambda record: type(record).__name__)
    async def test_a_text_of_a_subclass_comes_back_as_a_text(self, storage: Storage, record: Model) -> None:
        given = subclassed(record)

        await storage.store_many([given])

        (stored,) = await storage.repository(type(record)).find_all()
        assert stored == given
        assert [*subclasses_in(stored)] == []
        assert await storage.repository(type(record)).find_by_id(given.id) == stored

    @pytest.mark.parametrize("verb", _WITH_TEXT)
    async def test_an_argument_of_a_subclass_means_what_the_text_means(
        self, open_storage: OpenStorage, clock: ManualClock, verb: str
    ) -> None:
        async with open_storage() as plain, open_storage() as storage:
            await store_records(plain)
            await store_records(storage)

            expected = await call(plain, verb, arguments()[verb])
            given = {name: subclassed(value) for name, value in arguments()[verb].items()}
            result = await call(storage, verb, given)

            if verb == "get_aggregated_metrics":
                result, expected = _without_ids(result), _without_ids(expected)
            assert result == expected
            # These return the caller's own objects.
            assert verb.startswith(("store_", "get_held_claims")) or [*subclasses_in(result)] == []
            everything = await everything_in(storage)
            assert everything == await everything_in(plain)
            assert [*subclasses_in([*everything.values()])] == []

    async def test_a_query_by_a_text_of_a_subclass_finds_what_the_text_finds(self, storage: Storage) -> None:
        await store_records(storage)
        query = QueryBuilder(TaskModel)
        kind, key = MisleadingText("analyze-data"), MisleadingText("task_type")

        for found in (
            query.where_eq(key, kind),
            query.where_in(key, [kind]),
            query.where_like(key, MisleadingText("analyze%")),
            query.where_ge(key, kind).order_by(key),
            query.where_eq(MisleadingText("priority"), MisleadingText("medium")).where_not_null(key),
            query.where_ne(MisleadingText("status"), MisleadingText("failed")),
        ):
            assert len(await storage.repository(TaskModel).query(found)) == 2
            assert "shown" not in found.build()[0]

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            (MisleadingText("a"), "a"),
            (IntSubclass(3), 3),
            (FloatSubclass(0.5), 0.5),
            (TextMember.RED, "red"),
            (OldTextMember.RED, "red"),
            (IntMember.LARGE, 3),
            (
                {MisleadingText("key"): [MisleadingText("a"), {TextMember.RED: FloatSubclass(1.0)}]},
                {"key": ["a", {"red": 1.0}]},
            ),
        ],
    )
    async def test_a_value_of_a_subclass_in_json_comes_back_as_json_has_it(
        self, storage: Storage, given: Any, expected: Any
    ) -> None:
        await storage.store_task(a_task(payload=given))

        stored = await storage.get_task("task-1")

        assert stored is not None
        assert stored.payload == expected
        assert [*subclasses_in(stored.payload)] == []

    @pytest.mark.parametrize("member", [TextMember.RED, OldTextMember.RED])
    async def test_a_member_that_is_a_text_comes_back_as_its_text(self, storage: Storage, member: str) -> None:
        await storage.store_task(a_task(task_type=member))

        (stored,) = await storage.repository(TaskModel).query(QueryBuilder(TaskModel).where_eq("task_type", member))

        assert (stored.task_type, type(stored.task_type)) == ("red", str)

    @pytest.mark.parametrize("number", [FloatSubclass(0.5), IntSubclass(3), IntMember.LARGE])
    async def test_a_number_of_a_subclass_comes_back_as_a_float(self, storage: Storage, number: float) -> None:
        await storage.store_metric(a_metric(value=number))

        (stored,) = await storage.repository(MetricModel).query(QueryBuilder(MetricModel).where_eq("value", number))

        assert (stored.value, type(stored.value)) == (number, float)


class _Records:
    """All records of a storage, read again only once they may have changed: to read them takes most of the time."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._known: dict[str, list[Any]] | None = None

    @asynccontextmanager
    async def left_alone_if_refused(self) -> AsyncIterator[None]:
        """Expect either no error, or a short `StorageError` and nothing written."""
        before = self._known or await everything_in(self._storage)
        refusal = ""
        try:
            yield
        except StorageError as error:
            refusal = str(error)
        assert len(refusal) < 1_000
        assert not refusal or await everything_in(self._storage) == before
        self._known = before if refusal else None


def _without_ids(metrics: list[MetricModel]) -> list[MetricModel]:
    return [msgspec.structs.replace(metric, id="") for metric in metrics]
