"""Records the pauses that a module asks for: what it promises to do within a time is read there, not measured."""

import asyncio
from typing import Any


class RecordingAsyncio:
    """Stands for the module `asyncio` in another module, and records for how long that asks to sleep."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)
