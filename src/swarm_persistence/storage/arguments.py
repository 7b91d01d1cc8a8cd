"""Validates the arguments of verbs; the error names the argument."""

from collections.abc import Iterable
from typing import TypeVar

from swarm_persistence.errors import InvalidQueryError, shown
from swarm_persistence.schema.values import text

T = TypeVar("T")


def several(value: Iterable[T], name: str, expected: str) -> list[T]:
    """Return the values of an iterable as a list; raise `InvalidQueryError` for anything else."""
    is_plain = type(value) in (list, tuple)  # found in a fifth of the time
    if not is_plain and (isinstance(value, str | bytes) or not isinstance(value, Iterable)):
        raise InvalidQueryError(f"{name} is {shown(value)}, expected {expected}")
    return list(value)


def texts(value: Iterable[str], name: str) -> tuple[str, ...]:
    """Return the distinct texts of an iterable; raise `InvalidQueryError` for anything else."""
    items = several(value, name, "a list of str")
    return tuple(dict.fromkeys(text(item, f"{name}[{place}]") for place, item in enumerate(items)))


def flag(value: bool, name: str) -> bool:
    """Return a bool; raise `InvalidQueryError` for anything else."""
    if value is not True and value is not False:
        raise InvalidQueryError(f"{name} is {shown(value)}, expected True or False")
    return value
