"""The application name of connections: the package, its version, and the agents whose workers run."""

import os
import re
from collections import Counter

from swarm_persistence.version import VERSION

_LONGEST_BYTES = 63
"""The server truncates longer names."""

_UNPRINTABLE = re.compile(r"[^ -~]")
"""Each server replaces other characters differently."""


class ApplicationName:
    """The application name of a pool's connections. One that the URL or the environment gives is never changed."""

    def __init__(self, given: str | None) -> None:
        self.given = given if given is not None else os.environ.get("PGAPPNAME") or None
        self._agents: Counter[str] = Counter()
        self.text = self._text()

    def add(self, agent: str) -> None:
        """Add an agent whose worker has started."""
        self._agents[agent] += 1
        self.text = self._text()

    def discard(self, agent: str) -> None:
        """Remove an agent whose worker has ended."""
        self._agents[agent] -= 1
        self._agents += Counter()  # drops non-positive ones
        self.text = self._text()

    def _text(self) -> str:
        if self.given is not None:
            return self.given
        text = f"swarm-persistence/{VERSION} {','.join(self._agents)}".strip()
        return _UNPRINTABLE.sub("?", text)[:_LONGEST_BYTES]
