"""Facts about invalid fields: they are refused before anything is written, with an error that names field and value."""

import reprlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from swarm_persistence import AgentModel, AgentStatus, Model, SerializationError, Storage, StorageError, TaskModel
from swarm_persistence_conformance.records import (
    a_message,
    a_metric,
    a_task,
    an_agent,
    an_event,
    everything_in,
)
from swarm_persistence_conformance.values import nested

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - what must be refused
BEFORE_YEAR_1 = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
AFTER_YEAR_9999 = datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-1)))
ITSELF: list[Any] = []
ITSELF.append(ITSELF)


class Refusal(NamedTuple):
    """A value that a field cannot hold, and the words that its error must contain."""

    record: Callable[..., Model]
    field: str
    value: Any
    words: str = ""

    def __str__(self) -> str:
        return f"{self.name}={reprlib.repr(self.value)}"

    @property
    def name(self) -> str:
        """Return the field's name in an error: `agent.name`."""
        return f"{type(self.record()).__name__.removesuffix('Model').lower()}.{self.field}"


def _texts() -> list[Refusal]:
    fields = {
        an_agent: ("id", "name", "agent_type"),
        a_task: ("id", "task_type", "assigned_to", "error"),
        an_event: ("id", "event_type", "agent_id"),
        a_message: ("id", "from_agent", "to_agent", "message_type"),
        a_metric: ("id", "agent_id", "metric_type", "unit"),
    }
    bad = [("a\0b", "NUL"), ("\ud800", "surrogate"), ("é\udfff", "surrogate"), (7, "a str"), (b"bytes", "a str")]
    return [
        Refusal(record, field, value, words)
        for record, names in fields.items()
        for field in names
        for value, words in bad
    ]


def _empty_ids() -> list[Refusal]:
    return [Refusal(record, "id", "", "empty") for record in (an_agent, a_task, an_event, a_message, a_metric)]


def _times() -> list[Refusal]:
    fields = [
        (an_agent, "heartbeat"),
        (an_agent, "created_at"),
        (an_agent, "updated_at"),
        (a_task, "created_at"),
        (a_task, "updated_at"),
        (a_task, "started_at"),
        (a_task, "completed_at"),
        (an_event, "timestamp"),
        (a_message, "timestamp"),
        (a_metric, "timestamp"),
    ]
    bad = [
        (NAIVE, "aware"),
        ("2026-01-01T00:00:00Z", "datetime"),
        (1_767_225_600, "datetime"),
        (BEFORE_YEAR_1, "years"),
        (AFTER_YEAR_9999, "years"),
    ]
    return [Refusal(record, field, value, words) for record, field in fields for value, words in bad]


def _json() -> list[Refusal]:
    bad = [
        float("nan"),
        float("inf"),
        [1, {"deep": [float("-inf")]}],
        "\ud800",
        {"\udfff": 1},
        {1: "number as key"},
        {None: 1},
        (1, 2),
        [{"tuple": ()}],
        {1, 2},
        b"bytes",
        NAIVE,
        datetime(2026, 1, 1, tzinfo=UTC),
        Decimal(1),
        object,
        nested(257),
        nested(100_000),
        ITSELF,
    ]
    fields = [(a_task, "payload"), (a_task, "result"), (an_event, "data"), (a_message, "content")]
    return [Refusal(record, field, value) for record, field in fields for value in bad]


def _rest() -> list[Refusal]:
    no_objects: list[Any] = [None, [], "x", {1: 2}, {"k": float("nan")}]
    no_texts: list[Any] = [None, "x", ["x", 1], ["\ud800"], ("x",), {}]
    no_tags: list[Any] = [None, [], {"k": 1}, {1: "v"}, {"k": None}, {"k": "\ud800"}]
    return [
        *(Refusal(an_agent, "metadata", value) for value in no_objects),
        *(Refusal(an_agent, "capabilities", value) for value in no_texts),
        *(Refusal(a_task, "dependencies", value) for value in no_texts),
        *(Refusal(a_metric, "tags", value) for value in no_tags),
        *(Refusal(an_agent, "status", value) for value in ("Active", None, "sleepy")),
        *(Refusal(a_task, "status", value) for value in ("idle", AgentStatus.IDLE, None)),
        *(Refusal(a_task, "priority", value) for value in ("urgent", 2, None)),
        *(Refusal(a_message, "read", value) for value in (1, 0, "yes", None)),
        *(
            Refusal(a_task, field, value)
            for field in ("retry_count", "max_retries")
            for value in (-1, 2**32, 1.0, True, "1", None)
        ),
        *(
            Refusal(a_metric, "value", value)
            for value in (float("nan"), float("inf"), float("-inf"), 10**400, True, "1", None, Decimal(1), 1j)
        ),
        *(Refusal(record, "version", value) for record in (an_agent, a_task) for value in (-1, 1.0, "1", None, 2**63)),
        Refusal(an_agent, "name", None),
        Refusal(an_event, "event_type", None),
    ]


def _trace_parents() -> list[Refusal]:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    bad: list[Any] = [
        "",
        "nonsense",
        7,
        f"ff-{trace}-{span}-01",
        f"00-{'0' * 32}-{span}-01",
        f"00-{trace}-{'0' * 16}-01",
        f"00-{trace.upper()}-{span}-01",
        f"00-{trace}-{span}",
        f"00-{trace}-{span}-01-",
        f"00-{trace}-{span}-01\n",
        f" 00-{trace}-{span}-01",
        f"00-{trace}-{span}-٠١",
    ]
    return [Refusal(a_task, "trace_parent", value, "W3C's traceparent") for value in bad]


REFUSALS = [*_texts(), *_empty_ids(), *_times(), *_json(), *_rest(), *_trace_parents()]


@asynccontextmanager
async def refused(storage: Storage, kind: type[StorageError], *words: str) -> AsyncIterator[None]:
    """Expect exactly this error type with these words, and an unchanged storage."""
    before = await everything_in(storage)
    with pytest.raises(kind) as caught:
        yield
    assert caught.type is kind
    assert [word for word in words if word not in str(caught.value)] == []
    assert await everything_in(storage) == before


def shown(value: Any) -> str:
    """Return how an error shows the innermost invalid value."""
    return repr(value)[:40] if isinstance(value, str | int | float | datetime | Decimal) else ""


@pytest.mark.asyncio
class TestRefusedFields:
    """Every field refuses values that it cannot hold."""

    @pytest.mark.parametrize("refusal", REFUSALS, ids=str)
    async def test_a_value_that_would_not_come_back_is_refused(self, storage: Storage, refusal: Refusal) -> None:
        record = refusal.record(**{refusal.field: refusal.value})

        async with refused(storage, SerializationError, refusal.name, shown(refusal.value), refusal.words):
            await storage.store_many([a_task("good"), record, a_task("good too")])

    async def test_every_way_to_store_an_agent_refuses_it(self, storage: Storage) -> None:
        await storage.store_agent(an_agent())
        bad, ways = an_agent(name="a\0b", version=1), storage.repository(AgentModel)

        for write in (storage.store_agent, storage.update_agent, ways.save, ways.update):
            async with refused(storage, SerializationError, "agent.name", "NUL"):
                await write(bad)

    @pytest.mark.parametrize(
        ("field", "value", "words"), [("payload", float("nan"), "nan"), ("trace_parent", "nonsense", "traceparent")]
    )
    async def test_every_way_to_store_a_task_refuses_it(
        self, storage: Storage, field: str, value: Any, words: str
    ) -> None:
        stored = await storage.store_task(a_task())
        bad, ways = a_task(version=1), storage.repository(TaskModel)
        setattr(bad, field, value)

        async def modify(task: TaskModel) -> None:
            await storage.modify(TaskModel, stored.id, lambda stored: setattr(stored, field, getattr(task, field)))

        async def store_many(task: TaskModel) -> None:
            await storage.store_tasks([a_task("other"), task])

        for write in (storage.store_task, store_many, storage.update_task, modify, ways.save, ways.update):
            async with refused(storage, SerializationError, f"task.{field}", words):
                await write(bad)

    async def test_events_messages_and_metrics_are_refused_one_by_one_too(self, storage: Storage) -> None:
        async with refused(storage, SerializationError, "event.timestamp", "aware"):
            await storage.store_event(an_event(timestamp=NAIVE))
        async with refused(storage, SerializationError, "message.from_agent", "NUL"):
            await storage.store_message(a_message(from_agent="\0"))
        async with refused(storage, SerializationError, "metric.value", "finite"):
            await storage.store_metric(a_metric(value=float("inf")))

    async def test_a_refusal_names_the_place_of_the_culprit_in_nested_json(self, storage: Storage) -> None:
        async with refused(storage, SerializationError, "task.payload['rows'][2]['mean'] is nan"):
            await storage.store_task(a_task(payload={"rows": [1, 2, {"sum": 3, "mean": float("nan")}]}))

    async def test_a_refused_record_keeps_its_version(self, storage: Storage) -> None:
        agent = an_agent(name="\0")

        with pytest.raises(SerializationError):
            await storage.store_agent(agent)

        assert agent.version == 0

    async def test_a_refusal_shows_only_the_start_of_a_long_value(self, storage: Storage) -> None:
        with pytest.raises(SerializationError) as caught:
            await storage.store_agent(an_agent(name="\0" + "x" * 100_000))

        assert len(str(caught.value)) < 500
