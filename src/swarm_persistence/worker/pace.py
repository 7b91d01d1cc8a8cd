"""Decides how many tasks to claim ahead: those that the handlers will start before another claim could be answered."""

HORIZON_SECONDS = 0.005
"""How far ahead tasks are claimed at least: the most by which an idle worker could have started them earlier."""
LONGEST_HORIZON_SECONDS = 0.025
"""The same where claims take longer: an idle worker would wait as long for its claim, and this one would run dry."""
LONGEST_WAIT_SECONDS = 0.1
"""After this time, a task that was claimed ahead and not started is handed back."""
_MOST = 512
_WEIGHT = 0.2


class Pace:
    """The present durations of handlers and claims: those of handlers take effect at once where they increase."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._claim_seconds = 0.0
        self._ended = 0

    def note(self, seconds: float) -> None:
        """Record the duration of a handler that has ended."""
        self._ended += 1
        if seconds > self._seconds:
            self._seconds = seconds
        else:
            self._seconds += _WEIGHT * (seconds - self._seconds)

    def note_claim(self, seconds: float) -> None:
        """Record how long a claim took."""
        self._claim_seconds += _WEIGHT * (seconds - self._claim_seconds)

    def reset(self) -> None:
        """Forget the durations, after tasks that were claimed ahead were not started in time."""
        self._seconds, self._claim_seconds, self._ended = 0.0, 0.0, 0

    def ahead(self, slots: int) -> int:
        """Return how many tasks so many slots will start soon, by the present duration; no more than have ended."""
        if not self._ended or self._seconds > slots * HORIZON_SECONDS:
            return 0
        horizon = max(HORIZON_SECONDS, min(self._claim_seconds, LONGEST_HORIZON_SECONDS))
        soon = slots * horizon / self._seconds if self._seconds else _MOST
        # In steps, as a claim with another limit is compiled anew.
        grown = 1 << (self._ended.bit_length() - 1)
        return min(int(soon), grown, _MOST)
