"""Converts a constructor argument of several texts to a list."""

from collections.abc import Iterable

from swarm_persistence.errors import SerializationError, shown


def texts_of(values: Iterable[str], field: str) -> list[str]:
    """Return a list of the values; refuse a single text, which would become a list of its characters."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise SerializationError(f"{field} is {shown(values)}, expected a list of str")
    return list(values)
