"""Decides how many tasks to claim ahead: those that the handlers will start within a few milliseconds."""

HORIZON_SECONDS = 0.005
"""How far ahead tasks are claimed: the most by which an idle worker could have started them earlier."""
LONGEST_WAIT_SECONDS = 0.1
"""After this time, a task that was claimed ahead and not started is handed back."""
_MOST = 256
_WEIGHT = 0.2


class Pace:
    """The present duration of handlers: increases take effect at once, decreases gradually."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._ended = 0

    def note(self, seconds: float) -> None:
        """Record the duration of a handler that has ended."""
        self._ended += 1
        if seconds > self._seconds:
            self._seconds = seconds
        else:
            self._seconds += _WEIGHT * (seconds - self._seconds)

    def reset(self) -> None:
        """Forget the durations, after tasks that were claimed ahead were not started in time."""
        self._seconds, self._ended = 0.0, 0

    def ahead(self, slots: int) -> int:
        """Return how many tasks so many slots will start soon, by the present duration; no more than have ended."""
        if not self._ended or self._seconds > slots * HORIZON_SECONDS:
            return 0
        soon = slots * HORIZON_SECONDS / self._seconds if self._seconds else _MOST
        # In steps, as a claim with another limit is compiled anew.
        grown = 1 << (self._ended.bit_length() - 1)
        return min(int(soon), grown, _MOST)
