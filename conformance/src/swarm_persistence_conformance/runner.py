"""Runs the facts in the running event loop, without pytest's runner, as in a browser."""

import asyncio
import inspect
import reprlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import product
from typing import Any, NamedTuple

from swarm_persistence.testing import ManualClock, use_clock
from swarm_persistence_conformance.classes import CORE
from swarm_persistence_conformance.fixtures import OpenStorage


class FactOutcome(NamedTuple):
    """The outcome of one fact: no error if it holds."""

    name: str
    error: BaseException | None


async def run_suite(
    open_storage: OpenStorage, facts: Sequence[type] = CORE, timeout_seconds: float = 60
) -> AsyncIterator[FactOutcome]:
    """Run each fact on a fresh storage, one at a time, and yield its outcome; one that takes too long fails."""
    for cls in facts:
        for name, test in inspect.getmembers(cls, inspect.iscoroutinefunction):
            if name.startswith("test_"):
                call = partial(test, cls())
                for case, arguments in _cases(test):
                    yield FactOutcome(
                        f"{cls.__name__}.{name}{case}", await _try(call, arguments, open_storage, timeout_seconds)
                    )


def _cases(test: Callable[..., Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the cases of a test's `pytest.mark.parametrize` marks, each with a name."""
    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    for chosen in product(*([(mark.args[0], values) for values in mark.args[1]] for mark in marks)):
        arguments: dict[str, Any] = {}
        for names, values in chosen:
            arguments.update({names: values} if isinstance(names, str) else zip(names, values, strict=True))
        shown = ", ".join(f"{name}={_shown(value)}" for name, value in arguments.items())
        yield f"[{shown}]" if arguments else "", arguments


def _shown(value: object) -> str:
    # Not by repr where `str` is shorter: in a browser, a deeply nested value overflows the stack.
    return str(value) if "__str__" in vars(type(value)) else reprlib.repr(value)


async def _try(
    call: Callable[..., Any], arguments: dict[str, Any], open_storage: OpenStorage, timeout_seconds: float
) -> BaseException | None:
    wanted = inspect.signature(call).parameters
    async with AsyncExitStack() as fixtures:
        if "clock" in wanted:
            arguments["clock"] = fixtures.enter_context(use_clock(ManualClock()))
        if "open_storage" in wanted:
            arguments["open_storage"] = open_storage
        if "storage" in wanted:
            arguments["storage"] = await fixtures.enter_async_context(open_storage())
        # In a task of its own, so that a transaction that a failure left open ends with the task.
        limited = asyncio.wait_for(asyncio.create_task(call(**arguments)), timeout_seconds)
        outcomes = await asyncio.gather(limited, return_exceptions=True)
    return outcomes[0] if isinstance(outcomes[0], BaseException) else None
