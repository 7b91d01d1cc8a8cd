"""Values that an argument may be, and should not: of the wrong type, out of every range, or with methods that raise."""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID
from zoneinfo import ZoneInfo

from swarm_persistence import AgentModel, QueryBuilder, TaskModel, TaskStatus
from swarm_persistence_conformance.records import a_message, a_metric, a_task, an_agent, an_event


class HostileError(Exception):
    """What the methods of hostile objects raise."""


def _raise(*_arguments: object, **_named: object) -> NoReturn:
    raise HostileError("this object does not cooperate")


_METHODS = (
    "__eq__", "__hash__", "__repr__", "__str__", "__bool__", "__len__", "__lt__", "__gt__", "__int__", "__index__",
    "__float__", "__getattr__", "__call__", "__format__", "__contains__",
)  # fmt: skip


class _Hostile:
    """Raises whatever is asked of it, but for iteration."""


for _name in _METHODS:
    setattr(_Hostile, _name, _raise)


class _HostileText(str):
    __slots__ = ()


class _HostileNumber(int):
    pass


class _HostileList(list[Any]):
    pass


class _HostileObject(dict[str, Any]):
    pass


for _kind in (_HostileText, _HostileNumber, _HostileList, _HostileObject):
    for _name in ("__eq__", "__hash__", "__repr__", "__str__", "__format__", "__bool__", "__lt__", "__gt__"):
        setattr(_kind, _name, _raise)


class _TextSubclass(str):
    __slots__ = ()


def _nested(kind: Callable[[Any], Any], depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = kind(value)
    return value


def _itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def _generator() -> Iterator[Any]:
    yield "one"
    yield None
    yield object()


_PARIS = ZoneInfo("Europe/Paris")

_MAKERS: tuple[Callable[[], Any], ...] = (
    lambda: None,
    lambda: True,
    lambda: 0,
    lambda: -1,
    lambda: 2**31,
    lambda: 2**63,
    lambda: -(2**63) - 1,
    lambda: 10**400,
    lambda: 1.5,
    lambda: -0.0,
    lambda: float("nan"),
    lambda: float("inf"),
    lambda: float("-inf"),
    lambda: 1e308,
    lambda: 5e-324,
    lambda: 1j,
    lambda: Decimal("NaN"),
    lambda: Fraction(1, 3),
    lambda: "",
    lambda: " ",
    lambda: "\0",
    lambda: "a\0b",
    lambda: "\ud800",
    lambda: "é\udfff",
    lambda: "\U0010ffff",
    lambda: "'; DROP TABLE tasks; --",
    lambda: "%" * 60_000,
    lambda: "x" * 1_000_000,
    lambda: _TextSubclass("text"),
    lambda: _HostileText("text"),
    lambda: _HostileNumber(7),
    lambda: _HostileList([1]),
    lambda: _HostileObject(a=1),
    lambda: b"bytes",
    lambda: bytearray(b"\xff"),
    lambda: memoryview(b"m"),
    tuple,
    list,
    dict,
    set,
    lambda: frozenset({1}),
    lambda: {1: 2},
    lambda: {None: 1},
    lambda: {"\ud800": 1},
    lambda: {(1, 2): 3},
    lambda: [None],
    lambda: ["\ud800"],
    lambda: [float("nan")],
    lambda: (1, 2),
    lambda: range(3),
    lambda: _nested(lambda value: [value], 300),
    lambda: _nested(lambda value: [value], 100_000),
    lambda: _nested(lambda value: {"k": value}, 100_000),
    _itself,
    _generator,
    lambda: iter([1]),
    lambda: datetime(2026, 1, 1),  # noqa: DTZ001 - what must be refused
    lambda: datetime.min.replace(tzinfo=UTC),
    lambda: datetime.max.replace(tzinfo=UTC),
    lambda: datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
    lambda: datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-14))),
    lambda: datetime(2026, 10, 25, 2, 30, tzinfo=_PARIS),
    lambda: datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=_PARIS),
    lambda: datetime(2026, 3, 29, 2, 30, tzinfo=_PARIS),
    lambda: date(2026, 1, 1),
    lambda: timedelta.max,
    lambda: timedelta.min,
    lambda: timedelta(0),
    object,
    lambda: object,
    lambda: TaskModel,
    lambda: TaskStatus.PENDING,
    lambda: NotImplemented,
    lambda: ...,
    lambda: UUID(int=1),
    lambda: Path("no such/file"),
    lambda: lambda: None,
    lambda: lambda value: value,
    _Hostile,
    lambda: [_Hostile()],
    lambda: {"k": _Hostile()},
    lambda: QueryBuilder(AgentModel),
    an_agent,
    a_task,
    an_event,
    a_message,
    a_metric,
)

_SANE: dict[str, tuple[Callable[[], Any], ...]] = {
    "agent": (an_agent,),
    "task": (a_task,),
    "event": (an_event,),
    "message": (a_message,),
    "metric": (a_metric,),
    "up_to": (a_message,),
    "entity": (a_task, an_agent, an_event),
    "tasks": (lambda: [a_task()], lambda: True),
    "events": (lambda: [an_event()], lambda: True),
    "models": (lambda: [a_task(), an_agent()],),
    "model": (lambda: AgentModel, lambda: TaskModel),
    "builder": (lambda: QueryBuilder(TaskModel), lambda: None),
    "function": (lambda: lambda record: None, lambda: lambda record: record),
    "limit": (lambda: 5,),
    "error": (lambda: "broken",),
    "force": (lambda: False,),
    "lease": (lambda: 60.0, lambda: timedelta(minutes=1)),
    "wait": (lambda: 0.0,),
    "field": (lambda: "id", lambda: "status", lambda: "created_at", lambda: "name"),
    "value": (lambda: "x", lambda: "pending", lambda: 1),
    "values": (lambda: ["x"],),
    "bucket": (lambda: 60.0, lambda: None),
    "group_by": (lambda: ("agent_id",),),
    "functions": (lambda: ("avg", "p95"),),
    "older_than": (lambda: 3600.0,),
}
_ANY_SANE: tuple[Callable[[], Any], ...] = (lambda: "task-1", lambda: "agent-1", lambda: 0, lambda: 1.0)


def hostile(rng: random.Random) -> Any:
    """Return a value that most arguments must refuse; some of them a few may take."""
    return rng.choice(_MAKERS)()


def sane(name: str, rng: random.Random) -> Any:
    """Return a value that an argument of this name may have."""
    return rng.choice(_SANE.get(name, _ANY_SANE))()
