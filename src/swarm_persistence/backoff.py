"""Exponential backoff with jitter: how long to wait before each retry."""

import random


def backoff_seconds(retry: int, first: float, longest: float, jitter: float = 0.5) -> float:
    """Return the delay before a retry, counted from 1: about `first` seconds, doubled each time up to `longest`.

    Random jitter lengthens or shortens the delay, so that callers that failed together do not retry together.
    """
    # 2 to the power of a large count would not fit into a float.
    return min(first * 2.0 ** min(retry - 1, 64), longest) * random.uniform(1 - jitter, 1 + jitter)


class Backoff:
    """The delays between the attempts of one operation."""

    def __init__(self, first: float = 0.1, longest: float = 15.0) -> None:
        self._first = first
        self._longest = longest
        self.retries = 0
        """How many delays were taken since the last success."""

    def next(self) -> float:
        """Return the seconds to wait now."""
        self.retries += 1
        return backoff_seconds(self.retries, self._first, self._longest)

    def reset(self) -> None:
        """Start over with the shortest delay, after an attempt has succeeded."""
        self.retries = 0
