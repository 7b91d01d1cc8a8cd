"""Checks the arguments of verbs, and says which one is wrong."""

from collections.abc import Iterable
from datetime import timedelta
from typing import TypeVar

from swarm_persistence.errors import InvalidQueryError, shown
from swarm_persistence.schema.values import text

T = TypeVar("T")

LONGEST_SECONDS = 100 * 366 * 86_400.0
"""A hundred years: a time so far ahead still fits every database."""


def seconds(value: object, name: str, *, is_zero_possible: bool = False) -> float:
    """Return a duration, given in seconds or as a timedelta, in seconds."""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, int | float) and not isinstance(number, bool):
        # No NaN is so, and no number too large to be a float.
        is_long_enough = number >= 0 if is_zero_possible else number > 0
        if is_long_enough and number <= LONGEST_SECONDS:
            return float(number)
    expected = "0 or more" if is_zero_possible else "above 0"
    raise InvalidQueryError(
        f"{name} is {shown(value)}, expected seconds or a timedelta, {expected}, a hundred years at most"
    )


def several(value: Iterable[T], name: str, expected: str) -> list[T]:
    """Return several values as a list; what is none raises `InvalidQueryError`."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InvalidQueryError(f"{name} is {shown(value)}, expected {expected}")
    return list(value)


def texts(value: Iterable[str] | None, name: str) -> tuple[str, ...] | None:
    """Return several texts, each once; `None` stays."""
    if value is None:
        return None
    items = several(value, name, "a list of str")
    return tuple(dict.fromkeys(text(item, f"{name}[{place}]") for place, item in enumerate(items)))
