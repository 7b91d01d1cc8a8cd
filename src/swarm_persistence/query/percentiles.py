"""What a percentile is: the law that every engine keeps."""

from collections.abc import Iterable


def percentile_of(values: Iterable[float], fraction: float) -> float | None:
    """Return the value below which this fraction of the values lies; between two of them, in proportion.

    That is `percentile_cont` of SQL, with the same steps of arithmetic, so that the same numbers come out everywhere.
    """
    ordered = sorted(values)
    if not ordered:
        return None
    place = fraction * (len(ordered) - 1)
    below = int(place)
    if place == below:
        return ordered[below]
    return ordered[below] + (ordered[below + 1] - ordered[below]) * (place - below)
