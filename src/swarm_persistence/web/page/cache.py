"""Caches expensive results, so that many browsers on a large database do not keep it busy."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import msgspec

from swarm_persistence import Storage

T = TypeVar("T")

REST = 9.0
"""A value is recomputed after this multiple of its computing time: at most a tenth of the time is spent on it."""
_MOST_VALUES = 200


class CachedValue(msgspec.Struct, Generic[T], frozen=True):
    """A value, and the seconds until it may be recomputed; 0 if it is new."""

    value: T
    newer_in: float


class PageCache:
    """The values computed last for the pages of one storage."""

    def __init__(self) -> None:
        self._values: dict[object, tuple[Any, float]] = {}
        self._locks: dict[object, asyncio.Lock] = {}

    async def get(self, key: object, compute: Callable[[], Awaitable[T]]) -> CachedValue[T]:
        """Return a value; browsers that ask together wait for one."""
        if len(self._values) > _MOST_VALUES:
            self._values.clear()
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            found = self._values.get(key)
            if found is None or found[1] <= time.monotonic():
                start = time.monotonic()
                value = await compute()
                end = time.monotonic()
                found = self._values[key] = (value, end + (end - start) * REST)
                return CachedValue(value, 0.0)
        return CachedValue(found[0], max(found[1] - time.monotonic(), 0.05))

    def invalidate(self, key: object) -> None:
        """Drop a value after the caller has changed its source."""
        self._values.pop(key, None)


_by_storage: "WeakKeyDictionary[Storage, PageCache]" = WeakKeyDictionary()


def cache_of(storage: Storage) -> PageCache:
    """Return the cache of a storage."""
    return _by_storage.setdefault(storage, PageCache())
