"""The answer of a call that does its work at once, also if nobody awaits it."""

from collections.abc import Generator
from typing import Any


class Done:
    """What is done already, for those who await it."""

    def __await__(self) -> Generator[Any, None, None]:
        return iter(())  # type: ignore[return-value]
