"""The definition of a percentile, which all engines share."""

from collections.abc import Iterable


def percentile_of(values: Iterable[float], fraction: float) -> float | None:
    """Return the value below which this fraction of the values lies, interpolated between the two nearest.

    This is SQL's `percentile_cont` with the same arithmetic, so that all engines return the same numbers.
    """
    ordered = sorted(values)
    if not ordered:
        return None
    place = fraction * (len(ordered) - 1)
    below = int(place)
    if place == below:
        return ordered[below]
    return ordered[below] + (ordered[below + 1] - ordered[below]) * (place - below)
