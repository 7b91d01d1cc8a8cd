"""Converts rows of the Rust crate `ruv-swarm-persistence` to records; independent of source and target.

The crate keeps each record as JSON in the column `data`. `claim_task`, `mark_message_read` and the deletion of an agent
change columns only: so `status`, `assigned_to`, `read` and `read_at` come from the columns, all else from the JSON.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from swarm_persistence.clock import EPOCH
from swarm_persistence.errors import SerializationError, shown
from swarm_persistence.models import (
    AgentModel,
    AgentStatus,
    EventModel,
    MessageModel,
    MessagePriority,
    MetricModel,
    Model,
    TaskModel,
    TaskPriority,
    TaskStatus,
)
from swarm_persistence.models.choices import member
from swarm_persistence.query.task_statuses import HELD
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.values import decode_json
from swarm_persistence.storage.dependencies import dependencies_of

Row = Mapping[str, Any]
"""The columns of a row by name, texts as bytes."""

_TIMES = frozenset({"completed_at", "created_at", "heartbeat", "read_at", "started_at", "timestamp", "updated_at"})
"""The fields that are times, of all tables."""
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(?:Z|\+00:00)", re.ASCII)


class UndecodableError(Exception):
    """A row that cannot be converted; the message is the reason."""


class _Agent(msgspec.Struct):
    id: str
    name: str
    agent_type: str
    status: str
    capabilities: list[str]
    metadata: dict[str, Any]
    heartbeat: str
    created_at: str
    updated_at: str


class _Task(msgspec.Struct):
    id: str
    task_type: str
    priority: str
    status: str
    assigned_to: str | None
    payload: Any
    result: Any
    error: str | None
    retry_count: int
    max_retries: int
    dependencies: list[str]
    created_at: str
    updated_at: str
    started_at: str | None
    completed_at: str | None


class _Event(msgspec.Struct):
    id: str
    event_type: str
    agent_id: str | None
    task_id: str | None
    payload: Any
    metadata: dict[str, Any]
    timestamp: str
    sequence: int


class _Message(msgspec.Struct):
    id: str
    from_agent: str
    to_agent: str
    message_type: str
    content: Any
    priority: str
    read: bool
    created_at: str
    read_at: str | None


class _Metric(msgspec.Struct):
    id: str
    metric_type: str
    agent_id: str | None
    value: float
    unit: str
    tags: dict[str, str]
    timestamp: str


class RustRecords:
    """Decodes rows, and counts the conversions."""

    def __init__(self) -> None:
        self.mapped: Counter[str] = Counter()
        """The conversions, each with the number of records."""
        self.unknown: Counter[str] = Counter()
        """The fields that our models lack, with the number of records."""
        self._decoders: dict[str, Callable[[Row], Model]] = {
            "agents": self._agent,
            "tasks": self._task,
            "events": self._event,
            "messages": self._message,
            "metrics": self._metric,
        }

    def decode(self, table: str, row: Row) -> Model:
        """Return the record of a row, which every engine can store.

        Raises:
            UndecodableError: the row cannot be converted, and nothing was counted; the message says why.

        """
        mapped, unknown = self.mapped.copy(), self.unknown.copy()
        try:
            record = self._decoders[table](row)
            codec_of(type(record)).encode(record)
            if isinstance(record, TaskModel):
                dependencies_of(record)  # their ids are checked when a task is stored, not when it is encoded
        except (UndecodableError, SerializationError, msgspec.DecodeError, UnicodeError, RecursionError) as error:
            self.mapped, self.unknown = mapped, unknown
            if isinstance(error, UndecodableError):
                raise
            raise UndecodableError(getattr(error, "message", None) or str(error)) from error
        return record

    def _agent(self, row: Row) -> AgentModel:
        fields = self._read(_Agent, "agent", row)
        status = member(AgentStatus, self._plain(row["status"], "agent.status"), "agent.status")
        return AgentModel(**fields | {"status": status})

    def _task(self, row: Row) -> TaskModel:
        fields = self._read(_Task, "task", row)
        status = member(TaskStatus, self._plain(row["status"], "task.status"), "task.status")
        assigned_to = None if row["assigned_to"] is None else _text(row["assigned_to"], "task.assigned_to")
        if (status.value, assigned_to) != (fields["status"], fields["assigned_to"]):
            self.mapped["tasks took status and assigned_to from their columns, which a claim changes alone"] += 1
            # The time of a claim stands in the column only, in whole seconds.
            fields["updated_at"] = max(fields["updated_at"], _of_seconds(row["updated_at"], "task.updated_at"))
        if status in HELD and assigned_to is None:
            self.mapped["tasks were assigned to an agent that was deleted, and are pending"] += 1
            status = TaskStatus.PENDING
        if fields["dependencies"]:
            self.mapped[
                "tasks have dependencies, for which they wait from now on; they do not fail with them "
                "(fails_with_dependencies=False)"
            ] += 1
        fields["priority"] = member(TaskPriority, fields["priority"], "task.priority")
        return TaskModel(**fields | {"status": status, "assigned_to": assigned_to}, fails_with_dependencies=False)

    def _event(self, row: Row) -> EventModel:
        fields = self._read(_Event, "event", row)
        if fields.pop("sequence"):
            self.mapped["events had a sequence of their own; all are numbered anew, in the order of arrival"] += 1
        return EventModel(data=fields.pop("payload"), **fields)

    def _message(self, row: Row) -> MessageModel:
        fields = self._read(_Message, "message", row)
        is_read, read_at = row["read"], fields["read_at"]
        if is_read not in (0, 1):
            raise UndecodableError(f"message.read is {shown(is_read)}, expected 0 or 1")
        if row["read_at"] is None:
            read_at = None
        else:
            seconds = _of_seconds(row["read_at"], "message.read_at")
            # The JSON knows the fraction of the second, unless the column was changed alone.
            if read_at is None or read_at.replace(microsecond=0) != seconds:
                read_at = seconds
        if bool(is_read) != fields["read"]:
            self.mapped["messages took read and read_at from their columns, which a mark changes alone"] += 1
        fields["priority"] = member(MessagePriority, fields["priority"], "message.priority")
        timestamp = fields.pop("created_at")
        return MessageModel(timestamp=timestamp, **fields | {"read": bool(is_read), "read_at": read_at})

    def _metric(self, row: Row) -> MetricModel:
        return MetricModel(**self._read(_Metric, "metric", row))

    def _read(self, kind: type[msgspec.Struct], noun: str, row: Row) -> dict[str, Any]:
        """Return the fields in the JSON of a row, the times converted, and count those that our models lack."""
        plain = decode_json(_text(row["data"], "data"))
        fields = msgspec.structs.asdict(msgspec.convert(plain, kind))
        id = _text(row["id"], "id")
        if fields["id"] != id:
            raise UndecodableError(f"its JSON has the id {shown(fields['id'])}, and the row has another")
        self.unknown.update(f"{noun}s.{name}" for name in plain if name not in fields)
        for name in sorted(_TIMES & fields.keys()):
            if fields[name] is not None:
                fields[name] = self._time(fields[name], f"{noun}.{name}")
        return fields

    def _plain(self, value: object, field: str) -> str:
        """Return the text of a status, which release 1.0.5 writes with JSON quotes."""
        text = _text(value, field)
        if len(text) > 1 and text[0] == text[-1] == '"':
            self.mapped[f"{field.partition('.')[0]}s had a status in the quotes of JSON"] += 1
            return text[1:-1]
        return text

    def _time(self, text: str, field: str) -> datetime:
        """Return a time, cut to microseconds: rounded, .999999999 would become the next second."""
        found = _TIME.fullmatch(text)
        try:
            if found is None:
                raise ValueError
            fraction = found[2] or ""
            moment = datetime.fromisoformat(f"{found[1]}.{fraction[:6]:0<6}").replace(tzinfo=UTC)
        except ValueError:
            raise UndecodableError(
                f"{field} is {shown(text)}, expected a time in UTC from the year 1 to the year 9999"
            ) from None
        if fraction[6:].strip("0"):
            self.mapped["times were cut to microseconds"] += 1
        return moment


def _text(value: object, field: str) -> str:
    if not isinstance(value, bytes):
        raise UndecodableError(f"{field} is {shown(value)}, expected a text")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise UndecodableError(f"{field} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def _of_seconds(value: object, field: str) -> datetime:
    try:
        if type(value) is not int:
            raise OverflowError
        return EPOCH + timedelta(seconds=value)
    except OverflowError:
        raise UndecodableError(f"the column of {field} is {shown(value)}, expected a time in seconds") from None
