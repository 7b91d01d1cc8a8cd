"""The durations that a caller gives to a storage: seconds or timedelta."""

import sys
from datetime import timedelta

from swarm_persistence.errors import OtherError, shown


def seconds(duration: float | timedelta) -> float:
    """Return a duration in seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def checked_seconds(name: str, duration: float | timedelta) -> float:
    """Return a duration in seconds; what is none raises `OtherError`, which gives its name."""
    number = seconds(duration)
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number <= sys.float_info.max:
        raise OtherError(f"{name} is {shown(duration)}, expected a finite number of seconds above 0")
    return float(number)
