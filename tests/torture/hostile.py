"""Hostile values for every argument of every verb: taken, or refused by a `StorageError` without any change."""

import asyncio
import contextlib
import inspect
import os
import random
import reprlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from swarm_persistence import (
    AgentModel,
    BlockingStorage,
    MemoryStorage,
    QueryBuilder,
    SqliteStorage,
    Storage,
    StorageError,
    TaskModel,
)
from swarm_persistence.engines.sql.sqlite.migrations import LATEST
from swarm_persistence_conformance.records import (
    MODELS,
    a_message,
    a_metric,
    a_task,
    an_agent,
    an_event,
    everything_in,
)
from torture.caller import ForeignError, HangError
from torture.judge import BrokenPromiseError
from torture.values import HostileError, hostile, sane

CALLS = 100
"""How many there are in one trial."""

_TIMEOUT_SECONDS = 30.0
_WAIT_SECONDS = 0.02
_LEFT_OUT = {"close", "open", "new", "builder"}
"""Methods that begin and end storages."""
_CALLERS_OWN = {"function", "work", "progress", "coroutine"}
"""Arguments that are called or run: what they raise is the caller's own."""

Call = tuple[str, Callable[..., Any], dict[str, Any]]


def hostility(seed: int, directory: Path) -> None:
    """Call verbs with arguments some of which make no sense."""
    rng = random.Random(seed)
    before = Path.cwd()
    os.chdir(directory)  # what is taken for the name of a file is one in there
    try:
        if seed % 3:
            asyncio.run(_in_loop(rng, directory, is_on_disk=seed % 3 == 1))
        else:
            _without_loop(rng, directory)
    finally:
        os.chdir(before)


async def _in_loop(rng: random.Random, directory: Path, *, is_on_disk: bool) -> None:
    async with await SqliteStorage.open(directory / "swarm.db") if is_on_disk else MemoryStorage() as storage:
        await _fill(storage)
        before = await everything_in(storage)
        for _ in range(CALLS):
            name, method, arguments = _call(storage, rng)
            with _judged(name, arguments) as refusals:
                await asyncio.wait_for(_result(method, arguments), _TIMEOUT_SECONDS)
            after = await everything_in(storage)  # it can be read, whatever was taken
            if refusals and after != before:
                raise BrokenPromiseError(f"{_shown(name, arguments)} was refused, and has changed something")
            before = after


def _without_loop(rng: random.Random, directory: Path) -> None:
    storage = asyncio.run(_opened(directory / "swarm.db"))
    with BlockingStorage(storage) as blocking:
        for _ in range(CALLS):
            name, method, arguments = _call(blocking, rng)
            if _waits(arguments):
                continue
            with _judged(name, arguments):
                found = _called(method, arguments)
                if isinstance(found, Iterator) and "watch" not in name:
                    next(found, None)
        for model in MODELS:
            blocking.repository(model).find_all()


async def _opened(path: Path) -> Storage:
    storage = await SqliteStorage.open(path)
    await _fill(storage)
    return storage


async def _fill(storage: Storage) -> None:
    records = [an_agent("agent-1"), a_task("task-1"), an_event("event-1"), a_message("message-1"), a_metric("metric-1")]
    await storage.store_many([*records, a_task("task-2", dependencies=["task-1"])])
    await storage.claim_task("task-1", "agent-1")


def _call(storage: Storage | BlockingStorage, rng: random.Random) -> Call:
    """Return a method of the storage, of a repository or of a query builder, and arguments for it."""
    owner: Any = rng.choice((storage, storage, storage, storage.repository(rng.choice(MODELS)), _builder(rng)))
    names = [name for name in dir(owner) if not name.startswith("_") and name not in _LEFT_OUT]
    methods = [(name, method) for name in names if callable(method := getattr(owner, name)) and _parameters(method)]
    name, method = rng.choice(methods)
    return f"{type(owner).__name__}.{name}", method, _arguments(name, method, rng)


def _builder(rng: random.Random) -> QueryBuilder[Any]:
    return QueryBuilder(rng.choice((AgentModel, TaskModel)))


def _arguments(name: str, method: Callable[..., Any], rng: random.Random) -> dict[str, Any]:
    parameters = _parameters(method)
    chosen = rng.choice(parameters)
    arguments = {}
    for parameter in parameters:
        if name == "migrate_to":
            arguments[parameter.name] = _unknown_version(rng)
        elif parameter is chosen or rng.random() < 0.2:
            arguments[parameter.name] = hostile(rng)
        elif parameter.default is inspect.Parameter.empty or rng.random() < 0.3:
            arguments[parameter.name] = sane(parameter.name, rng)
    return arguments


def _unknown_version(rng: random.Random) -> Any:
    """Return a version that does not exist: of any other one, the tables would be others."""
    while True:
        value = hostile(rng)
        if not isinstance(value, int) or not int.__le__(0, value) or int.__gt__(value, LATEST):
            return value


def _parameters(method: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(method).parameters.values())


async def _result(method: Callable[..., Any], arguments: dict[str, Any]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_WAIT_SECONDS if _waits(arguments) else None):
            found = _called(method, arguments)
            if isinstance(found, AsyncGenerator):
                async with contextlib.aclosing(found), asyncio.timeout(_WAIT_SECONDS):
                    await anext(found, None)
            elif isinstance(found, Awaitable):
                await found


def _called(method: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    names = [each.name for each in _parameters(method)]
    several = [each.name for each in _parameters(method) if each.kind is inspect.Parameter.VAR_POSITIONAL]
    by_place = names[: names.index(several[0]) + 1] if several else []  # those before it can then have no name
    named = {name: value for name, value in arguments.items() if name not in by_place}
    return method(*(arguments[name] for name in by_place if name in arguments), **named)


def _waits(arguments: dict[str, Any]) -> bool:
    return type(arguments.get("wait")) in (int, float, timedelta) and bool(arguments["wait"])


@contextlib.contextmanager
def _judged(name: str, arguments: dict[str, Any]) -> Iterator[list[Exception]]:
    refusals: list[Exception] = []
    try:
        yield refusals
    except StorageError as error:
        refusals.append(error)
        str(error)
    except HostileError as error:
        refusals.append(error)  # what the caller's own object raises when it is compared or tested is the caller's
    except TimeoutError:
        raise HangError(f"{_shown(name, arguments)} has not come back") from None
    except Exception as error:
        if not (isinstance(error, TypeError) and _CALLERS_OWN & arguments.keys()):
            raise ForeignError(f"{_shown(name, arguments)} raised {type(error).__name__}: {error}") from error


def _shown(name: str, arguments: dict[str, Any]) -> str:
    shown = []
    for argument, value in arguments.items():
        try:
            text = reprlib.repr(value)
        except Exception:
            text = f"a hostile {type(value).__name__}"
        shown.append(f"{argument}={text[:80]}")
    return f"{name}({', '.join(shown)})"
