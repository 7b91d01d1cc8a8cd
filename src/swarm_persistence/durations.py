"""Validates durations that callers pass as numbers or timedeltas."""

from datetime import timedelta
from typing import Literal

from swarm_persistence.errors import InvalidQueryError, shown

LONGEST_SECONDS = 100 * 366 * 86_400.0
"""A hundred years: a time so far ahead still fits every database."""


def in_seconds(duration: float | timedelta) -> float:
    """Return a duration in seconds, unchecked."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def timedelta_of(value: object, name: str, *, unit: Literal["seconds", "minutes"] = "seconds") -> timedelta:
    """Return a duration argument, a timedelta or a number of this unit, as a timedelta.

    Raises:
        InvalidQueryError: it is neither, or not above 0, or longer than a hundred years; the error names `name`.

    """
    if unit not in ("seconds", "minutes"):
        raise InvalidQueryError(f"unit is {shown(unit)}, expected 'seconds' or 'minutes'")
    counted = value
    if unit == "minutes" and isinstance(value, int | float) and not isinstance(value, bool):
        counted = value * 60
    try:
        return timedelta(seconds=seconds(counted, name))
    except InvalidQueryError:
        expected = f"{unit} or a timedelta, above 0, a hundred years at most"
        raise InvalidQueryError(f"{name} is {shown(value)}, expected {expected}") from None


def seconds(value: object, name: str, *, is_zero_possible: bool = False, longest: float = LONGEST_SECONDS) -> float:
    """Return a duration in seconds; raise `InvalidQueryError` for anything else."""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, int | float) and not isinstance(number, bool):
        # This also refuses NaN and numbers too large for a float.
        is_long_enough = number >= 0 if is_zero_possible else number > 0
        if is_long_enough and number <= longest:
            return float(number)
    least = "0 or more" if is_zero_possible else "above 0"
    most = "a hundred years" if longest == LONGEST_SECONDS else f"{longest:.0f} seconds"
    raise InvalidQueryError(f"{name} is {shown(value)}, expected seconds or a timedelta, {least}, {most} at most")
