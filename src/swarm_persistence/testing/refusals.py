"""Facts about bad input: refused before anything is written, with an error that names the field and the value."""

import reprlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from swarm_persistence.errors import InvalidQueryError, SerializationError, StorageError
from swarm_persistence.models import AgentModel, Model, TaskModel
from swarm_persistence.storage import Storage
from swarm_persistence.testing.records import (
    a_message,
    a_metric,
    a_task,
    an_agent,
    an_event,
    everything_in,
)
from swarm_persistence.testing.values import nested

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - what must be refused
BEFORE_YEAR_1 = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
AFTER_YEAR_9999 = datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-1)))
ITSELF: list[Any] = []
ITSELF.append(ITSELF)


class Refusal(NamedTuple):
    """A value that a field cannot hold, and the words that the error must have."""

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
        object(),
        nested(100_000),
        ITSELF,
    ]
    fields = [(a_task, "payload"), (a_task, "result"), (an_event, "data"), (a_message, "content")]
    return [Refusal(record, field, value) for record, field in fields for value in bad]


def _rest() -> list[Refusal]:
    return [
        *(Refusal(an_agent, "metadata", value) for value in (None, [], "x", {1: 2}, {"k": float("nan")})),
        *(Refusal(an_agent, "capabilities", value) for value in (None, "x", ["x", 1], ["\ud800"], ("x",), {})),
        *(Refusal(a_task, "dependencies", value) for value in (None, "x", [None], ["\udfff"], ("x",))),
        *(Refusal(a_metric, "tags", value) for value in (None, [], {"k": 1}, {1: "v"}, {"k": None}, {"k": "\ud800"})),
        *(Refusal(an_agent, "status", value) for value in ("active", None, "sleepy")),
        *(Refusal(a_task, "status", value) for value in ("pending", None)),
        *(Refusal(a_task, "priority", value) for value in ("high", 2, None)),
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


REFUSALS = [*_texts(), *_empty_ids(), *_times(), *_json(), *_rest()]


@asynccontextmanager
async def refused(storage: Storage, kind: type[StorageError], *words: str) -> AsyncIterator[None]:
    """Expect exactly this error, with these words, and that the storage is left as it was."""
    before = await everything_in(storage)
    with pytest.raises(kind) as caught:
        yield
    assert caught.type is kind
    assert [word for word in words if word not in str(caught.value)] == []
    assert await everything_in(storage) == before


def shown(value: Any) -> str:
    """Return how an error shows the innermost value that is wrong."""
    return repr(value)[:40] if isinstance(value, str | int | float | datetime | Decimal) else ""


@pytest.mark.asyncio
class TestRefusedFields:
    """What no field can hold."""

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

    async def test_every_way_to_store_a_task_refuses_it(self, storage: Storage) -> None:
        await storage.store_task(a_task())
        bad, ways = a_task(payload=float("nan"), version=1), storage.repository(TaskModel)

        for write in (storage.store_task, storage.update_task, ways.save, ways.update):
            async with refused(storage, SerializationError, "task.payload", "nan"):
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


Call = Callable[[Storage], Coroutine[Any, Any, Any]]

BAD_IDS: list[tuple[Any, str]] = [("", "empty"), ("a\0b", "NUL"), ("\ud800", "surrogate"), (7, "str"), (None, "str")]
ID_CALLS: dict[str, Callable[[Storage, Any], Coroutine[Any, Any, Any]]] = {
    "get_agent": lambda storage, id: storage.get_agent(id),
    "delete_agent": lambda storage, id: storage.delete_agent(id),
    "get_task": lambda storage, id: storage.get_task(id),
    "get_tasks_by_agent": lambda storage, id: storage.get_tasks_by_agent(id),
    "claim_task of a bad task": lambda storage, id: storage.claim_task(id, "agent-1"),
    "claim_task by a bad agent": lambda storage, id: storage.claim_task("task-1", id),
    "get_events_by_agent": lambda storage, id: storage.get_events_by_agent(id, 1),
    "get_messages_between a bad one": lambda storage, id: storage.get_messages_between(id, "b", 1),
    "get_messages_between and a bad one": lambda storage, id: storage.get_messages_between("a", id, 1),
    "get_unread_messages": lambda storage, id: storage.get_unread_messages(id),
    "mark_message_read": lambda storage, id: storage.mark_message_read(id),
    "get_metrics_by_agent": lambda storage, id: storage.get_metrics_by_agent(id, "duration_ms"),
    "find_by_id": lambda storage, id: storage.repository(TaskModel).find_by_id(id),
    "delete": lambda storage, id: storage.repository(TaskModel).delete(id),
}
BAD_TIMES: list[Any] = [NAIVE, float("nan"), float("inf"), 1e30, -(10**20), True, "2026-01-01", None]
TIME_CALLS: dict[str, Callable[[Storage, Any], Coroutine[Any, Any, Any]]] = {
    "get_events_since": lambda storage, time: storage.get_events_since(time),
    "get_aggregated_metrics from": lambda storage, time: storage.get_aggregated_metrics("duration_ms", time, 0),
    "get_aggregated_metrics to": lambda storage, time: storage.get_aggregated_metrics("duration_ms", 0, time),
}
LIMIT_CALLS: dict[str, Callable[[Storage, Any], Coroutine[Any, Any, Any]]] = {
    "get_events_by_agent": lambda storage, limit: storage.get_events_by_agent("a", limit),
    "get_events_by_type": lambda storage, limit: storage.get_events_by_type("a", limit),
    "get_messages_between": lambda storage, limit: storage.get_messages_between("a", "b", limit),
}


@pytest.mark.asyncio
class TestRefusedArguments:
    """What no verb accepts."""

    @pytest.mark.parametrize(("id", "words"), BAD_IDS)
    @pytest.mark.parametrize("call", ID_CALLS)
    async def test_an_id_that_no_record_can_have_is_refused(
        self, storage: Storage, call: str, id: Any, words: str
    ) -> None:
        await storage.store_task(a_task())

        async with refused(storage, SerializationError, repr(id), words):
            await ID_CALLS[call](storage, id)

    @pytest.mark.parametrize("time", BAD_TIMES)
    @pytest.mark.parametrize("call", TIME_CALLS)
    async def test_a_time_that_is_none_is_refused(self, storage: Storage, call: str, time: Any) -> None:
        async with refused(storage, SerializationError, "time", repr(time)):
            await TIME_CALLS[call](storage, time)

    @pytest.mark.parametrize("limit", [-1, 1.0, "1", None, True, 2**63])
    @pytest.mark.parametrize("call", LIMIT_CALLS)
    async def test_a_limit_that_is_no_whole_number_is_refused(self, storage: Storage, call: str, limit: Any) -> None:
        async with refused(storage, InvalidQueryError, "limit", repr(limit)):
            await LIMIT_CALLS[call](storage, limit)

    async def test_a_record_of_another_model_is_refused(self, storage: Storage) -> None:
        wrong: Any = a_task()

        async with refused(storage, SerializationError, "agent", "AgentModel"):
            await storage.store_agent(wrong)
        async with refused(storage, SerializationError, "agent", "AgentModel"):
            await storage.repository(AgentModel).save(wrong)

    @pytest.mark.parametrize("wrong", [{"id": "agent-1"}, None, "agent-1", AgentModel])
    async def test_what_is_no_model_is_refused(self, storage: Storage, wrong: Any) -> None:
        async with refused(storage, SerializationError, "AgentModel"):
            await storage.store_agent(wrong)

    @pytest.mark.parametrize("wrong", [{"id": "agent-1"}, None, "agent-1", AgentModel])
    async def test_a_batch_with_what_is_no_model_is_refused(self, storage: Storage, wrong: Any) -> None:
        async with refused(storage, InvalidQueryError, "AgentModel"):
            await storage.store_many([an_agent(), wrong])

    @pytest.mark.parametrize("wrong", [dict, None, "agents", Model])
    async def test_a_repository_of_no_model_is_refused(self, storage: Storage, wrong: Any) -> None:
        async with refused(storage, InvalidQueryError, "AgentModel"):
            storage.repository(wrong)
