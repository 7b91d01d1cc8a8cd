"""Facts about values: they come back equal, in value and in type."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from swarm_persistence import (
    AgentModel,
    AgentStatus,
    EventModel,
    MessageModel,
    MetricModel,
    Model,
    Storage,
    TaskModel,
    TaskPriority,
    TaskStatus,
)
from swarm_persistence_conformance.records import (
    MODELS,
    a_message,
    a_metric,
    a_task,
    an_agent,
    an_event,
    complete_records,
)


def nested(depth: int) -> Any:
    """Return nested lists and objects."""
    value: Any = "bottom"
    for level in range(depth):
        value = [value] if level % 2 else {"in": value}
    return value


JSON_VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "zero": 0,
    "one": 1,
    "one as a float": 1.0,
    "minus zero": -0.0,
    "a fraction": 0.1,
    "the largest float": 1.7976931348623157e308,
    "the smallest float": 5e-324,
    "a float that is whole": 1e22,
    "the largest exact whole float and one more": 2**53 + 1,
    "64 bits": 2**63 - 1,
    "64 bits unsigned": 2**64 - 1,
    "more than 64 bits": 2**64 + 1,
    "less than 64 bits": -(2**63) - 1,
    "a thousand bits": -(2**1000) + 1,
    "empty text": "",
    "text": "plain",
    "digits as text": "0123",
    "emoji": "👩‍🚀🏽",
    "combining marks": "e\u0301 is not é",
    "right to left": "שלום",
    "a NUL": "a\0b",
    "control characters": "".join(map(chr, range(1, 32))) + "\x7f\x85",
    "line separators": "\u2028\u2029\r\n",
    "quotes and backslashes": "'\"\\`${}%_;--",
    "noncharacters": "\ufffe\uffff\U0010ffff",
    "an empty list": [],
    "an empty object": {},
    "empty ones in one another": [[], {}, [[]], {"": {}}],
    "null within": {"a": None, "b": [None]},
    "many types side by side": [1, 1.0, True, "1", None, [1], {"1": 1}],
    "odd keys": {"": 1, " ": 2, "\0": 3, "ключ": 4, "a.b": 5, "$": 6, "__proto__": 7, "1": 8},
    "keys out of order": {"b": 1, "a": 2, "c": {"z": 1, "y": 2}},
    "deep nesting": nested(200),
    "much of it": [{"position": position, "text": "x" * 100} for position in range(2_000)],
}

TEXTS = [value for value in JSON_VALUES.values() if isinstance(value, str) and "\0" not in value]

MOMENTS = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 30, 0, 123_456, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
]


def exactly(value: Any) -> Any:
    """Return a key that is equal only for equal values of equal types: 1, 1.0 and True differ, as do 0.0 and -0.0."""
    if isinstance(value, dict):
        return "object", [(key, exactly(value[key])) for key in value]
    if isinstance(value, list):
        return "list", [exactly(item) for item in value]
    return type(value), repr(value)


async def round_trip(storage: Storage, record: Model) -> Any:
    """Store a record and read it back."""
    await storage.store_many([record])
    return await storage.repository(type(record)).find_by_id(record.id)


@pytest.mark.asyncio
class TestValues:
    """Every value comes back equal."""

    @pytest.mark.parametrize("model", MODELS)
    async def test_every_field_comes_back(self, storage: Storage, model: type[Model]) -> None:
        (record,) = (record for record in complete_records() if type(record) is model)

        assert await round_trip(storage, record) == record

    @pytest.mark.parametrize("value", JSON_VALUES.values(), ids=JSON_VALUES.keys())
    async def test_any_json_value_comes_back_as_it_was(self, storage: Storage, value: Any) -> None:
        await storage.store_many(
            [
                an_agent(metadata={"value": value}),
                a_task(payload=value, result=value),
                an_event(data=value),
                a_message(content=value),
            ]
        )

        agent = await storage.repository(AgentModel).find_by_id("agent-1")
        task = await storage.repository(TaskModel).find_by_id("task-1")
        event = await storage.repository(EventModel).find_by_id("event-1")
        message = await storage.repository(MessageModel).find_by_id("message-1")

        assert agent
        assert task
        assert event
        assert message
        stored = [agent.metadata["value"], task.payload, task.result, event.data, message.content]
        assert [exactly(found) for found in stored] == [exactly(value)] * 5

    @pytest.mark.parametrize("text", TEXTS)
    async def test_any_text_comes_back_as_it_was(self, storage: Storage, text: str) -> None:
        agent = an_agent(f"id {text}", name=text, agent_type=text, capabilities=[text, text])

        assert await round_trip(storage, agent) == agent

    async def test_lists_and_tags_of_text_may_hold_nul(self, storage: Storage) -> None:
        agent = an_agent(capabilities=["a\0b"])
        metric = a_metric(tags={"k\0": "\0"})

        assert await round_trip(storage, agent) == agent
        assert await round_trip(storage, metric) == metric

    async def test_a_long_text_comes_back(self, storage: Storage) -> None:
        task = a_task(task_type="é" * 1_000_000, payload="😀" * 500_000)

        assert await round_trip(storage, task) == task

    @pytest.mark.parametrize("moment", MOMENTS)
    async def test_a_time_comes_back_to_the_microsecond(self, storage: Storage, moment: datetime) -> None:
        task = a_task(created_at=moment, updated_at=moment, started_at=moment, completed_at=moment)

        assert await round_trip(storage, task) == task

    async def test_a_time_of_another_zone_comes_back_as_the_same_instant_in_utc(self, storage: Storage) -> None:
        zone = timezone(timedelta(hours=-7, minutes=-30))
        moment = datetime(2026, 12, 31, 23, 0, 0, 7, tzinfo=zone)

        stored = await round_trip(storage, an_event(timestamp=moment))

        assert (stored.timestamp, stored.timestamp.tzinfo) == (moment, UTC)

    @pytest.mark.parametrize("number", [0.0, 1, -7, 0.1, 1e308, 5e-324, 2**53 + 2, -1e22])
    async def test_a_metrics_number_comes_back_as_the_same_float(self, storage: Storage, number: float) -> None:
        stored = await round_trip(storage, a_metric(value=number))

        assert exactly(stored.value) == exactly(float(number))

    @pytest.mark.parametrize("number", [0, 1, 2**31, 2**32 - 1])
    async def test_a_count_comes_back(self, storage: Storage, number: int) -> None:
        task = a_task(retry_count=number, max_retries=number)

        assert await round_trip(storage, task) == task

    @pytest.mark.parametrize("priority", list(TaskPriority))
    async def test_every_priority_comes_back(self, storage: Storage, priority: TaskPriority) -> None:
        assert (await round_trip(storage, a_task(priority=priority))).priority is priority

    @pytest.mark.parametrize("status", list(TaskStatus))
    async def test_every_task_status_comes_back(self, storage: Storage, status: TaskStatus) -> None:
        assert (await round_trip(storage, a_task(status=status))).status is status

    @pytest.mark.parametrize("status", list(AgentStatus))
    async def test_every_agent_status_comes_back(self, storage: Storage, status: AgentStatus) -> None:
        assert (await round_trip(storage, an_agent(status=status))).status is status

    @pytest.mark.parametrize("read", [True, False])
    async def test_a_flag_comes_back_as_a_boolean(self, storage: Storage, read: bool) -> None:
        assert (await round_trip(storage, a_message(read=read))).read is read

    async def test_empty_text_is_not_null(self, storage: Storage) -> None:
        stored = await round_trip(storage, a_task(assigned_to=None, error="", task_type=""))

        assert (stored.assigned_to, stored.error, stored.task_type) == (None, "", "")

    async def test_a_record_with_its_defaults_comes_back(self, storage: Storage) -> None:
        records: list[Model] = [
            AgentModel(name="n", agent_type="t"),
            TaskModel(task_type="t"),
            EventModel(event_type="t"),
            MessageModel(from_agent="a", to_agent="b", message_type="t"),
            MetricModel(metric_type="t", value=1.0, unit="u"),
        ]

        await storage.store_many(records)

        assert [await storage.repository(type(record)).find_by_id(record.id) for record in records] == records

    async def test_an_update_keeps_values_as_exactly_as_an_insert(self, storage: Storage) -> None:
        task = a_task()
        await storage.store_task(task)
        task.payload = list(JSON_VALUES.values())
        task.completed_at = MOMENTS[-1]

        await storage.update_task(task)

        stored = await storage.get_task("task-1")
        assert stored == task
        assert exactly(stored.payload) == exactly(task.payload)

    async def test_events_and_messages_may_name_agents_that_are_not_registered(self, storage: Storage) -> None:
        event = an_event(agent_id="nobody")

        assert await round_trip(storage, event) == event

    async def test_one_id_may_be_used_once_in_every_model(self, storage: Storage) -> None:
        records: list[Model] = [an_agent("1"), a_task("1"), an_event("1"), a_message("1"), a_metric("1")]

        await storage.store_many(records)

        assert [await storage.repository(type(record)).find_by_id("1") for record in records] == records

    async def test_ids_that_differ_in_case_or_trailing_space_are_different(self, storage: Storage) -> None:
        agents = [an_agent(id) for id in ("a", "A", "a ", "á", "a\u0301")]

        await storage.store_many(agents)

        assert [await storage.get_agent(agent.id) for agent in agents] == agents
