"""A queue of callers that wait for a connection: round-robin over schemas, first in, first out within each."""

import asyncio
from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """The futures of waiting callers, by schema."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[asyncio.Future[T]]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, schema: str, waiter: "asyncio.Future[T]") -> None:
        """Append a caller to the queue of its schema."""
        line = self._lines.get(schema)
        if line is None:
            line = self._lines[schema] = deque()
        line.append(waiter)
        self._length += 1

    def discard(self, schema: str, waiter: "asyncio.Future[T]") -> None:
        """Remove a caller."""
        line = self._lines.get(schema)
        if line is not None and waiter in line:
            line.remove(waiter)
            self._length -= 1
            if not line:
                del self._lines[schema]

    def pop(self) -> "asyncio.Future[T] | None":
        """Remove and return the first future that is not done, of the next schema in turn; `None` if there is none."""
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
