"""The name under which connections show on the server: the package, its version, and the agents that they work for."""

import os
import re
from collections import Counter

from swarm_persistence.version import VERSION

_LONGEST_BYTES = 63
"""A server cuts what is longer."""

_UNPRINTABLE = re.compile(r"[^ -~]")
"""Of other characters, each server makes something else."""


class ApplicationName:
    """The name of a pool's connections. One that the user has given, by the URL or the environment, stays as it is."""

    def __init__(self, given: str | None) -> None:
        self.given = given if given is not None else os.environ.get("PGAPPNAME") or None
        self._agents: Counter[str] = Counter()
        self.text = self._text()

    def add(self, agent: str) -> None:
        """Name an agent too, whose worker begins."""
        self._agents[agent] += 1
        self.text = self._text()

    def discard(self, agent: str) -> None:
        """Name an agent no longer, whose worker has ended."""
        self._agents[agent] -= 1
        self._agents += Counter()  # drops those that are not above 0
        self.text = self._text()

    def _text(self) -> str:
        if self.given is not None:
            return self.given
        text = f"swarm-persistence/{VERSION} {','.join(self._agents)}".strip()
        return _UNPRINTABLE.sub("?", text)[:_LONGEST_BYTES]
