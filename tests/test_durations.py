"""Facts about durations as callers give them."""

from datetime import timedelta
from typing import Any

import pytest

from swarm_persistence import InvalidQueryError, timedelta_of


@pytest.mark.parametrize(
    ("value", "unit", "duration"),
    [
        (1, "seconds", timedelta(seconds=1)),
        (0.25, "seconds", timedelta(milliseconds=250)),
        (1.5, "minutes", timedelta(seconds=90)),
        (timedelta(hours=2), "seconds", timedelta(hours=2)),
        (timedelta(hours=2), "minutes", timedelta(hours=2)),
        (100 * 366 * 24 * 60, "minutes", timedelta(days=36_600)),
    ],
)
def test_a_number_is_one_of_its_unit(value: Any, unit: Any, duration: timedelta) -> None:
    assert timedelta_of(value, "ttl", unit=unit) == duration


@pytest.mark.parametrize(
    "value",
    [0, -1, True, "5", None, [1], float("nan"), float("inf"), 1e300, 10**5000, timedelta(0), timedelta.max],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("unit", ["seconds", "minutes"])
def test_what_is_no_duration_is_refused_by_the_arguments_name(value: Any, unit: Any) -> None:
    with pytest.raises(InvalidQueryError, match=rf"ttl is .*, expected {unit} or a timedelta, above 0"):
        timedelta_of(value, "ttl", unit=unit)


def test_the_error_shows_the_number_that_was_given() -> None:
    with pytest.raises(InvalidQueryError, match=r"ttl is -2, expected minutes"):
        timedelta_of(-2, "ttl", unit="minutes")


def test_an_unknown_unit_is_refused() -> None:
    wrong: Any = "hours"
    with pytest.raises(InvalidQueryError, match="unit is 'hours', expected 'seconds' or 'minutes'"):
        timedelta_of(1, "ttl", unit=wrong)
