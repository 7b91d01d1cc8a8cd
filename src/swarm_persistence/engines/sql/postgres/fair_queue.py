"""The line of callers that wait for a connection: fair among schemas, first come, first served within each."""

import asyncio
from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Waiting futures, by the schema that each waits for. The schemas take turns, whatever their lines' lengths."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[asyncio.Future[T]]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, schema: str, waiter: "asyncio.Future[T]") -> None:
        """Let a caller wait behind the others of its schema."""
        line = self._lines.get(schema)
        if line is None:
            line = self._lines[schema] = deque()
        line.append(waiter)
        self._length += 1

    def discard(self, schema: str, waiter: "asyncio.Future[T]") -> None:
        """Let a caller wait no longer."""
        line = self._lines.get(schema)
        if line is not None and waiter in line:
            line.remove(waiter)
            self._length -= 1
            if not line:
                del self._lines[schema]

    def pop(self) -> "asyncio.Future[T] | None":
        """Take out the first that still waits, of the schema whose turn it is; its schema's next turn comes last."""
        while self._lines:
            schema, line = self._lines.popitem(last=False)
            while line:
                waiter = line.popleft()
                self._length -= 1
                if not waiter.done():
                    if line:
                        self._lines[schema] = line
                    return waiter
        return None
