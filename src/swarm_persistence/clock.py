"""The one source of the present time, which tests replace."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar
from weakref import WeakSet

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """A source of the present time."""

    def now(self) -> datetime:
        """Return the present time, aware and in UTC."""
        ...


C = TypeVar("C", bound=Clock)


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the present time, aware and in UTC."""
        return datetime.now(UTC)


class ManualClock:
    """A clock that does not advance until it is moved."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start

    def now(self) -> datetime:
        """Return the time to which the clock was last moved."""
        return self._now

    def advance(self, seconds: float | timedelta) -> None:
        """Move the clock by this many seconds, and wake all waiters for a time; a negative number moves it back."""
        self._now += seconds if isinstance(seconds, timedelta) else timedelta(seconds=seconds)
        wake_waiters()


class Waiters(Protocol):
    """Waiters for a time, which must read the clock again once it has been moved."""

    def notify(self) -> None:
        """Wake them, from any thread."""
        ...


_current: Clock = SystemClock()
_waiters: "WeakSet[Waiters]" = WeakSet()


def now() -> datetime:
    """Return the present time of the clock in use, aware and in UTC."""
    return _current.now()


def now_in_microseconds() -> int:
    """Return the present time of the clock in use, in microseconds since 1970."""
    if type(_current) is SystemClock:
        return time.time_ns() // 1000  # equals its `now`, in a fifth of the time
    return microseconds(_current.now())


def is_system_clock() -> bool:
    """Tell whether the time is the machine's own; if so, a database server may tell its own time instead."""
    return isinstance(_current, SystemClock)


def wake_when_moved(waiters: Waiters) -> None:
    """Wake these waiters, as long as they exist, whenever a clock is moved."""
    _waiters.add(waiters)


def wake_waiters() -> None:
    """Wake all waiters for a time, in every storage of this process; a clock of your own calls it when it is moved."""
    for waiters in [*_waiters]:
        waiters.notify()


@contextmanager
def use_clock(clock: C) -> Iterator[C]:
    """Take the present time from `clock` within the block, in every thread of this process."""
    global _current  # noqa: PLW0603 - one clock for the process is the purpose of this module
    previous, _current = _current, clock
    try:
        yield clock
    finally:
        _current = previous


def microseconds(moment: datetime) -> int:
    """Return an aware time as microseconds since 1970 in UTC, exact for every year."""
    span = moment - EPOCH
    return span.days * 86_400_000_000 + span.seconds * 1_000_000 + span.microseconds


def from_microseconds(count: int) -> datetime:
    """Return the time this many microseconds after 1970, aware and in UTC."""
    return EPOCH + timedelta(microseconds=count)
