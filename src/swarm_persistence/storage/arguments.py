"""Checks the arguments of verbs, and says which one is wrong."""

from collections.abc import Iterable
from typing import TypeVar

from swarm_persistence.errors import InvalidQueryError, shown
from swarm_persistence.schema.values import text

T = TypeVar("T")


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
