"""The tables of the library as SQLAlchemy's mapped classes: the same columns and values, by its own types.

The columns that queries name are written out; the others are added from the library's tables.
"""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import JSON, BigInteger, Boolean, Dialect, Float, Integer, Text, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from benchmarks.peers.statements import NEXT_CHANGE
from swarm_persistence import EventModel, MetricModel, Model, TaskModel, TaskPriority
from swarm_persistence.clock import from_microseconds, microseconds
from swarm_persistence.models.collections import collection_of, collection_text
from swarm_persistence.schema.tables import JSON_KINDS, Kind, table_of

_RANKS = {priority.rank: priority for priority in TaskPriority}


def json_text(value: object) -> str:
    """Return JSON: SQLAlchemy lets its users choose the encoder, so it has the library's."""
    return msgspec.json.encode(value).decode()


class Moment(TypeDecorator[datetime]):
    """A time, kept as microseconds."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Return the column's value."""
        return None if value is None else microseconds(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return the field's value."""
        return None if value is None else from_microseconds(value)


class Priority(TypeDecorator[TaskPriority]):
    """A priority, kept as its rank."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: TaskPriority | None, dialect: Dialect) -> int | None:
        """Return the column's value."""
        return None if value is None else value.rank

    def process_result_value(self, value: Any, dialect: Dialect) -> TaskPriority | None:
        """Return the field's value."""
        return None if value is None else _RANKS[value]


class Path(TypeDecorator[tuple[str, ...]]):
    """A tuple of texts, kept as one text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> str | None:
        """Return the column's value."""
        return None if value is None else collection_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> tuple[str, ...] | None:
        """Return the field's value."""
        return None if value is None else collection_of(value)


class Base(DeclarativeBase):
    """What the mapped classes share."""

    sequence: Mapped[int] = mapped_column(Integer, primary_key=True)
    id: Mapped[str] = mapped_column(Text, unique=True)


class EventRow(Base):
    """An event."""

    __tablename__ = "events"

    agent_id: Mapped[str | None] = mapped_column(Text)
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", JSON)
    timestamp: Mapped[datetime] = mapped_column(Moment)


class MetricRow(Base):
    """A metric."""

    __tablename__ = "metrics"

    agent_id: Mapped[str | None] = mapped_column(Text)
    metric_type: Mapped[str] = mapped_column(Text)
    value: Mapped[float] = mapped_column(Float)
    unit: Mapped[str] = mapped_column(Text)
    timestamp: Mapped[datetime] = mapped_column(Moment)


class TaskRow(Base):
    """A task."""

    __tablename__ = "tasks"

    priority: Mapped[TaskPriority] = mapped_column(Priority)
    status: Mapped[str] = mapped_column(Text)
    assigned_to: Mapped[str | None] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(Moment)
    lease_expires_at: Mapped[datetime | None] = mapped_column(Moment)
    claim_count: Mapped[int] = mapped_column(Integer)
    version: Mapped[int] = mapped_column(Integer)
    change_number: Mapped[int] = mapped_column(Integer, default=text(NEXT_CHANGE), onupdate=text(NEXT_CHANGE))


_ROWS: dict[type[Model], type[Base]] = {EventModel: EventRow, MetricModel: MetricRow, TaskModel: TaskRow}

_TYPES: dict[Kind, Any] = {
    Kind.TEXT: Text,
    Kind.CHOICE: Text,
    Kind.COUNT: Integer,
    Kind.REAL: Float,
    Kind.FLAG: Boolean,
    Kind.TIME: Moment,
    Kind.PATH: Path,
    **dict.fromkeys(JSON_KINDS, JSON(none_as_null=True)),
}

for _model, _row in _ROWS.items():
    for _column in table_of(_model).columns:
        if _column.name not in _row.__table__.columns:
            setattr(_row, _column.name, mapped_column(_column.name, _TYPES[_column.kind]))


def row_of(model: Model) -> Base:
    """Return a new mapped object with a record's values."""
    kind = _ROWS[type(model)]
    values = {name: getattr(model, name) for name in model.__struct_fields__ if name != "sequence"}
    if "metadata" in values:
        values["metadata_"] = values.pop("metadata")  # a name that SQLAlchemy keeps for itself
    return kind(**values)
