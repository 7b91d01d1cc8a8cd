"""Durations as callers give them, seconds or timedelta, checked and in seconds."""

from datetime import timedelta

from swarm_persistence.errors import InvalidQueryError, shown

LONGEST_SECONDS = 100 * 366 * 86_400.0
"""A hundred years: a time so far ahead still fits every database."""


def in_seconds(duration: float | timedelta) -> float:
    """Return a duration in seconds, unchecked."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def seconds(value: object, name: str, *, is_zero_possible: bool = False, longest: float = LONGEST_SECONDS) -> float:
    """Return a duration in seconds; what is none raises `InvalidQueryError`."""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, int | float) and not isinstance(number, bool):
        # No NaN is so, and no number too large to be a float.
        is_long_enough = number >= 0 if is_zero_possible else number > 0
        if is_long_enough and number <= longest:
            return float(number)
    least = "0 or more" if is_zero_possible else "above 0"
    most = "a hundred years" if longest == LONGEST_SECONDS else f"{longest:.0f} seconds"
    raise InvalidQueryError(f"{name} is {shown(value)}, expected seconds or a timedelta, {least}, {most} at most")
