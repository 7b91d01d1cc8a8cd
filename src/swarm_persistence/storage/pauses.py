"""How long to wait before the next try: longer each time, and never the same for all."""

import random

_FIRST_SECONDS = 0.1
_LONGEST_SECONDS = 15.0


class Pauses:
    """The pauses between tries of one thing."""

    def __init__(self) -> None:
        self._seconds = _FIRST_SECONDS

    def next(self) -> float:
        """Return the seconds to wait now."""
        seconds, self._seconds = self._seconds, min(self._seconds * 2, _LONGEST_SECONDS)
        return seconds * random.uniform(0.75, 1.25)

    def reset(self) -> None:
        """Begin anew: a try has succeeded."""
        self._seconds = _FIRST_SECONDS
