"""Describes the table of each model: columns and kinds, derived from the model, and the indexes its queries need."""

import types
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from swarm_persistence.errors import InvalidQueryError, shown
from swarm_persistence.models import (
    AgentModel,
    DocumentModel,
    EventModel,
    MessageModel,
    MetricModel,
    Model,
    ScheduleModel,
    TaskModel,
    TaskStatus,
)
from swarm_persistence.models.choices import RankedEnum
from swarm_persistence.models.collections import document_id
from swarm_persistence.models.limits import TaskLimit, TaskStart
from swarm_persistence.models.links import TaskLink
from swarm_persistence.models.past_claims import PastClaim

M = TypeVar("M", bound=Model)


class Kind(Enum):
    """The kind of values in a column; each engine maps it to a type of its own."""

    TEXT = "text"
    CHOICE = "choice"  # a member of an enum, stored as its text
    RANK = "rank"  # a member of an ordered enum, stored as its rank
    COUNT = "count"  # a non-negative integer
    VERSION = "version"  # the number of writes of the record
    REAL = "real"
    FLAG = "flag"
    TIME = "time"
    JSON = "json"  # any JSON value
    OBJECT = "object"  # a JSON object
    TEXTS = "texts"  # a list of strings, stored as JSON
    TAGS = "tags"  # a JSON object of strings
    CLAIMS = "claims"  # a list of past claims, stored as JSON
    PATH = "path"  # a tuple of strings, stored as one string of the same order
    BYTES = "bytes"
    VECTOR = "vector"  # single-precision floats, stored as bytes


JSON_KINDS = frozenset({Kind.JSON, Kind.OBJECT, Kind.TEXTS, Kind.TAGS, Kind.CLAIMS})
BINARY_KINDS = frozenset({Kind.BYTES, Kind.VECTOR})
LARGE_KINDS = JSON_KINDS | BINARY_KINDS
"""The kinds of what a record contains."""

SEQUENCE = "sequence"
"""The column of every table that numbers its rows in order of arrival; it breaks every tie."""

CHANGE_NUMBER = "change_number"
"""The hidden column that every write of a row in a followed table sets."""

UNMET_DEPENDENCIES = "unmet_dependencies"
"""The hidden column of tasks that counts the dependencies that are not completed; exact for small counts."""

IS_DELAYED = "is_delayed"
"""The hidden column of tasks that is set until `run_at` has passed and the task can be ready."""

IS_COUNTED = "is_counted"
"""The hidden column of tasks that tells whether a task was claimed while its type had a limit."""


PAST_CLAIMS = "past_claims"
"""The column of tasks that lists the claims that have ended. Each entry is an array of the claim's number, its agent,
the microseconds since 1970 at which it started and ended, its outcome and its error."""


class Column(msgspec.Struct, frozen=True):
    """One field of a model, as a column."""

    name: str
    kind: Kind
    is_nullable: bool = False
    choices: type[Enum] | None = None

    @property
    def is_comparable(self) -> bool:
        """Whether conditions and orders may use the column: engines order JSON differently."""
        return self.kind not in JSON_KINDS and self.kind not in BINARY_KINDS


class Index(msgspec.Struct, frozen=True):
    """An index: its columns in order, `-` before a descending one, `a|b` for an unordered pair of columns.

    `sequence` is always appended as the last column. A partial index has only the rows with the values of `where`, or
    in which the column `present` is not null. In a unique index, no two rows have the same values.
    """

    name: str
    columns: tuple[str, ...]
    where: tuple[tuple[str, str | int], ...] = ()
    present: str | None = None
    is_unique: bool = False


class Table(Generic[M]):
    """The table of one model. `hidden` columns are not in the model: a new row has 0 there, a replaced one keeps them.

    In a table that `is_followed`, every write of a row sets the hidden column `change_number`, by which readers find
    the rows written since their last read.

    A row whose field has the `sticky` value is replaced only by one with the same value: otherwise, `Replace` and
    `Save` leave it unchanged, as on a version conflict, because such a change needs further writes. They never decrease
    the `monotonic` fields, and keep the list of past claims, except that the stored row's own claim is appended if the
    new row is not assigned to its agent.

    In a table with a `floor`, the highest sequence is known even after its row was deleted: an SQL engine stores it in
    a table of that name.

    In a table with `derived_id`, the id is that function of two other columns. A row whose `expiry` has passed counts
    as absent: no read finds it, and no write except one that replaces it.
    """

    def __init__(
        self,
        name: str,
        model: type[M],
        *indexes: Index,
        hidden: tuple[Column, ...] = (),
        is_followed: bool = False,
        sticky: tuple[str, str] | None = None,
        monotonic: tuple[str, ...] = (),
        floor: str | None = None,
        expiry: str | None = None,
        derived_id: tuple[Callable[[str, str], str], str, str] | None = None,
    ) -> None:
        self.name = name
        self.model = model
        self.label = name.removesuffix("s").replace("_", " ")
        self.id_field = f"{self.label}.id"
        self.indexes = indexes
        self.columns = tuple(_columns(model))
        self.names = tuple(column.name for column in self.columns)
        self.is_followed = is_followed
        self.sticky = sticky
        self.monotonic = monotonic
        self.floor = floor
        self.expiry = expiry
        self.derived_id = derived_id
        self.hidden = (*hidden, Column(CHANGE_NUMBER, Kind.VERSION)) if is_followed else hidden
        self.stored_names = (*self.names, *(column.name for column in self.hidden))
        self.record_names = (*self.names, SEQUENCE)
        """The columns of a record, and of an error about an unreadable row: all but the hidden ones."""
        self.positions = {name: position for position, name in enumerate((*self.stored_names, SEQUENCE))}
        self.is_versioned = "version" in self.positions
        self.binary_places = tuple(place for place, column in enumerate(self.columns) if column.kind in BINARY_KINDS)
        """The positions of the columns that hold bytes."""
        self.may_be_large = bool(self.binary_places)
        """Whether a row may hold megabytes."""
        self.large_places = tuple(place for place, column in enumerate(self.columns) if column.kind in LARGE_KINDS)
        """The positions of the columns that may be large."""
        self.is_numbered = SEQUENCE in model.__struct_fields__
        """Whether the model has the sequence as a field."""
        # Its place in a row would depend on whether the row has the hidden columns.
        assert not (self.is_numbered and self.hidden), f"the table {name} cannot be numbered and have hidden columns"
        self.has_key = "idempotency_key" in self.positions
        self.has_group = "group" in self.positions
        self.has_claims = PAST_CLAIMS in self.positions
        """Whether the table lists past claims of its rows."""
        self.limiting_fields = frozenset(field for index in indexes for field, _ in index.where)
        """The columns that occur in the conditions of partial indexes."""
        self.choices = tuple(column for column in self.columns if column.choices is not None)
        self.unique_fields = tuple(index.columns[0] for index in indexes if index.is_unique)
        """The fields beside the id whose values are unique, unless they are null."""
        self.leading_fields = frozenset(index.columns[0] for index in indexes)
        """The first column of each index, `-` before a descending one."""
        self._by_name = {column.name: column for column in (*self.columns, *self.hidden)}
        self._by_name[SEQUENCE] = Column(SEQUENCE, Kind.VERSION)

    def column(self, name: str) -> Column:
        """Return a column of the table, the hidden ones and the sequence included."""
        return self._by_name[name]

    def field(self, name: object) -> Column:
        """Return the column of a model's field; an unknown one raises `InvalidQueryError`, which lists the known."""
        known = self.model.__struct_fields__
        if not isinstance(name, str) or name not in known:
            raise InvalidQueryError(f"{self.model.__name__} has no field {shown(name)}; it has {', '.join(known)}")
        return self._by_name[str.__str__(name)]

    def __repr__(self) -> str:
        return f"Table({self.name!r})"


_PLAIN_KINDS: dict[Any, Kind] = {
    str: Kind.TEXT,
    int: Kind.COUNT,
    float: Kind.REAL,
    bool: Kind.FLAG,
    datetime: Kind.TIME,
    Any: Kind.JSON,
    dict[str, Any]: Kind.OBJECT,
    dict[str, str]: Kind.TAGS,
    list[str]: Kind.TEXTS,
    tuple[PastClaim, ...]: Kind.CLAIMS,
    tuple[str, ...]: Kind.PATH,
    bytes: Kind.BYTES,
    list[float]: Kind.VECTOR,
}


def _columns(model: type[Model]) -> list[Column]:
    hints = get_type_hints(model)
    return [_column(name, hints[name]) for name in model.__struct_fields__ if name != SEQUENCE]


def _column(name: str, hint: Any) -> Column:
    is_nullable = get_origin(hint) in (Union, types.UnionType)
    if is_nullable:
        (hint,) = (argument for argument in get_args(hint) if argument is not types.NoneType)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return Column(name, Kind.RANK if issubclass(hint, RankedEnum) else Kind.CHOICE, is_nullable, hint)
    if name == "version":
        return Column(name, Kind.VERSION)
    return Column(name, _PLAIN_KINDS[hint], is_nullable)


AGENTS = Table(
    "agents",
    AgentModel,
    Index("agents_by_age", ("created_at",)),
    Index("agents_by_status", ("status", "created_at")),
    Index("agents_by_heartbeat", ("status", "heartbeat")),
    Index("agents_by_group", ("group",), present="group"),
)
_PENDING = ("status", TaskStatus.PENDING.value)
_READY = (_PENDING, (UNMET_DEPENDENCIES, 0), (IS_DELAYED, 0))

TASKS = Table(
    "tasks",
    TaskModel,
    # By arrival, not by `created_at`: that comes from the clients, whose clocks differ.
    Index("tasks_pending", ("-priority",), where=(_PENDING,)),
    Index("tasks_ready", ("-priority",), where=_READY),
    Index("tasks_ready_by_type", ("task_type", "-priority"), where=_READY),
    Index("tasks_ready_by_concurrency_key", ("task_type", "concurrency_key", "-priority"), _READY, "concurrency_key"),
    Index(
        "tasks_ready_by_capabilities",
        ("required_capabilities", "task_type", "-priority"),
        _READY,
        "required_capabilities",
    ),
    Index("tasks_counted", ("task_type", "status"), where=((IS_COUNTED, 1),)),
    Index("tasks_delayed", ("run_at",), where=((IS_DELAYED, 1),)),
    Index("tasks_leased", ("lease_expires_at",), present="lease_expires_at"),
    Index("tasks_by_agent", ("assigned_to", "created_at"), present="assigned_to"),
    Index("tasks_by_key", ("idempotency_key",), present="idempotency_key", is_unique=True),
    Index("tasks_by_group", ("group",), present="group"),
    Index("tasks_changed", (CHANGE_NUMBER,)),
    hidden=(Column(UNMET_DEPENDENCIES, Kind.COUNT), Column(IS_DELAYED, Kind.FLAG), Column(IS_COUNTED, Kind.FLAG)),
    is_followed=True,
    sticky=("status", TaskStatus.COMPLETED.value),
    monotonic=("claim_count",),
)
EVENTS = Table(
    "events",
    EventModel,
    Index("events_by_time", ("timestamp",)),
    Index("events_by_agent", ("agent_id", "timestamp")),
    Index("events_by_type", ("event_type", "timestamp")),
    Index("events_by_type_and_arrival", ("event_type",)),
    Index("events_by_key", ("idempotency_key",), present="idempotency_key", is_unique=True),
    Index("events_by_group", ("group",), present="group"),
    floor="event_floor",
)
MESSAGES = Table(
    "messages",
    MessageModel,
    Index("messages_by_pair", ("from_agent|to_agent", "timestamp")),
    Index("messages_unread_by_priority", ("to_agent", "-priority", "timestamp"), where=(("read", 0),)),
    Index("messages_by_arrival", ("to_agent",)),
    Index("messages_by_group", ("group",), present="group"),
)
METRICS = Table(
    "metrics",
    MetricModel,
    Index("metrics_by_agent", ("agent_id", "metric_type", "timestamp")),
    Index("metrics_by_type", ("metric_type", "agent_id", "unit", "timestamp", "value")),
    Index("metrics_by_group", ("group",), present="group"),
)
DOCUMENTS = Table(
    "documents",
    DocumentModel,
    # Ids sort by collection and key, so that the unique index of ids is the one of these two.
    Index("documents_by_arrival", ("collection",)),
    Index("documents_by_label", ("label", "id"), present="label"),
    Index("documents_expiring", ("expires_at",), present="expires_at"),
    Index("documents_changed", (CHANGE_NUMBER,)),
    is_followed=True,
    expiry="expires_at",
    derived_id=(document_id, "collection", "key"),
)

SCHEDULES = Table("schedules", ScheduleModel, Index("schedules_due", ("next_at",), where=(("paused", 0),)))

TASK_LINKS = Table(
    "task_links",
    TaskLink,
    Index("task_links_by_task", ("task_id",)),
    Index("task_links_by_dependency", ("dependency_id",)),
)
TASK_LIMITS = Table("task_limits", TaskLimit)
TASK_STARTS = Table("task_starts", TaskStart, Index("task_starts_by_type", ("task_type", "started_at")))

PUBLIC_TABLES: tuple[Table[Any], ...] = (AGENTS, TASKS, EVENTS, MESSAGES, METRICS, DOCUMENTS, SCHEDULES)
"""The tables of the records that users store. A new noun also needs its verbs, and a migration on each engine."""

TABLES: tuple[Table[Any], ...] = (*PUBLIC_TABLES, TASK_LINKS, TASK_LIMITS, TASK_STARTS)
"""All tables, for code that processes all records; the last ones are internal."""

_BY_MODEL: dict[type[Model], Table[Any]] = {table.model: table for table in PUBLIC_TABLES}
_WATCHED = _BY_MODEL | {TaskLimit: TASK_LIMITS}
_BY_NAME: dict[str, Table[Any]] = {table.name: table for table in PUBLIC_TABLES}


def table_named(name: str) -> Table[Any]:
    """Return the table of this name; an unknown name raises `InvalidQueryError`."""
    table = _BY_NAME.get(name)
    if table is None:
        raise InvalidQueryError(f"{shown(name)} is not a table; the tables are {', '.join(_BY_NAME)}")
    return table


def table_of(model: type[M]) -> Table[M]:
    """Return the table of a model's class; a class that is not a model raises `InvalidQueryError`."""
    return _table_in(_BY_MODEL, model)


def watched_table_of(model: type[Model]) -> Table[Any]:
    """Return the table whose commits a caller may watch, including that of limits, which only its verbs write."""
    return _table_in(_WATCHED, model)


def _table_in(tables: dict[type[Model], Table[Any]], model: type[Model]) -> Table[Any]:
    # Only then a key to look up: the hash of tuples within tuples takes a stack as deep as they are.
    table = tables.get(model) if isinstance(model, type) else None
    if table is None:
        known = ", ".join(each.__name__ for each in tables)
        raise InvalidQueryError(f"{shown(model)} is not a model; the models are {known}")
    return table
