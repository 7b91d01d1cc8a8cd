"""Converts values that callers compare fields with to column values; an enum may be given as text."""

from datetime import UTC, datetime
from enum import Enum

from swarm_persistence.errors import InvalidQueryError, SerializationError, shown
from swarm_persistence.query.query import Operator
from swarm_persistence.schema.tables import Column, Kind
from swarm_persistence.schema.values import ColumnValue, column_value, real, text, whole

_REST_OF_A_SECOND = 999_999
"""The offset of a second's last microsecond."""


def bound_value(column: Column, operator: Operator, value: object, name: str) -> ColumnValue:
    """Return a value to compare a column with, as `query_value` does; with `<=`, an `int` includes its whole second.

    With the other operators, an `int` is the beginning of its second. A float or a datetime is an exact time.
    """
    number = query_value(column, value, name)
    if column.kind is Kind.TIME and operator == "<=" and isinstance(value, int):
        assert isinstance(number, int)
        return number + _REST_OF_A_SECOND
    return number


def query_value(column: Column, value: object, name: str) -> ColumnValue:
    """Return a value to compare a column with, as the column stores it; accepts an enum's text and Unix seconds."""
    if column.choices is not None and isinstance(value, str) and not isinstance(value, Enum):
        value = member_of(column.choices, str.__str__(value), name)
    if column.kind is Kind.TIME:
        value = time_of(value, name)
    if column.kind is Kind.VERSION:
        return whole(value, name)
    if column.kind is Kind.REAL or column.kind is Kind.TEXT:
        return (real if column.kind is Kind.REAL else text)(value, name)
    return column_value(column, value, name)


def member_of(choices: type[Enum], value: str, name: str) -> Enum:
    """Return the member with this text; `InvalidQueryError`, which lists the members, if there is none."""
    try:
        return choices(value)
    except ValueError:
        known = ", ".join(member.value for member in choices)
        raise InvalidQueryError(f"{name} cannot be {shown(value)}; it is one of {known}") from None


def time_of(value: object, name: str) -> datetime:
    """Return a time given as Unix seconds or an aware datetime."""
    if isinstance(value, datetime) and value.utcoffset() is not None:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value, UTC)
        except (OverflowError, ValueError, OSError):
            pass
    raise SerializationError(f"{name} is {shown(value)}, expected Unix seconds or an aware datetime")
