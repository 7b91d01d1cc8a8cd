"""Derives the blocking methods of adapters from their async ones."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from swarm_persistence import BlockingStorage, Storage


class _Adapter(Protocol):
    blocking: BlockingStorage


A = TypeVar("A", bound=_Adapter)
P = ParamSpec("P")
R = TypeVar("R")


def blocking_of(storage: Storage | BlockingStorage) -> BlockingStorage:
    """Return the blocking form of a storage, which may be in either form."""
    return storage if isinstance(storage, BlockingStorage) else BlockingStorage(storage)


def blocking_form(method: Callable[Concatenate[A, P], Coroutine[Any, Any, R]]) -> Callable[Concatenate[A, P], R]:
    """Return the form without `await` of an adapter's method."""

    @wraps(method)
    def call(self: A, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.blocking.run(method(self, *args, **kwargs))

    return call


def blocking_series(method: Callable[Concatenate[A, P], AsyncIterator[R]]) -> Callable[Concatenate[A, P], Iterator[R]]:
    """Return the form without `await` of an adapter's asynchronous generator."""

    @wraps(method)
    def call(self: A, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        found = method(self, *args, **kwargs)

        async def take() -> R:
            return await anext(found)

        async def close() -> None:
            await cast(Any, found).aclose()

        try:
            while True:
                try:
                    each = self.blocking.run(take())
                except StopAsyncIteration:
                    return
                yield each
        finally:
            self.blocking.run(close())

    return call
