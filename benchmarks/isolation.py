"""Runs functions in processes of their own, so that memory and interpreter are theirs alone."""

import asyncio
import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Any, TypeVar

T = TypeVar("T")

# Forked from a server that has imported everything and opened nothing: no process measures another's imports or memory.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["benchmarks.workloads"])
# Imports only what it is told to run: a full garbage collection goes through all that a process has imported, which
# takes 5 ms with the library alone, and 60 ms with all peers.
_SPAWNED = multiprocessing.get_context("spawn")


def preload(module: str) -> None:
    """Let the new processes begin with this module in place of the workloads; call it before the first of them."""
    _CONTEXT.set_forkserver_preload([module])


async def run_isolated(function: Callable[..., T], *arguments: Any) -> T:
    """Run a function of a module in a new process, and return what it returns."""
    (result,) = await run_together(function, [arguments])
    return result


async def run_spawned(function: Callable[..., T], *arguments: Any) -> T:
    """Run a function in a new process that imports the function's module alone, and return what it returns."""
    (result,) = await _run_in(_SPAWNED, function, [arguments])
    return result


async def run_together(function: Callable[..., T], calls: Sequence[Sequence[Any]]) -> list[T]:
    """Run a function in as many new processes as there are calls, and return what each returns."""
    return await _run_in(_CONTEXT, function, calls)


def barrier(parties: int) -> Any:
    """Return a barrier that can be an argument of processes that start together."""
    return _CONTEXT.Barrier(parties)


async def _run_in(
    context: ForkServerContext | SpawnContext, function: Callable[..., T], calls: Sequence[Sequence[Any]]
) -> list[T]:
    receivers = []
    processes = []
    for arguments in calls:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(sender, function, tuple(arguments)))
        process.start()
        sender.close()
        receivers.append(receiver)
        processes.append(process)
    try:
        return [await asyncio.to_thread(_receive, receiver) for receiver in receivers]
    finally:
        for process in processes:
            process.join()


def _run(sender: "Connection[Any, Any]", function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        sender.send((True, function(*arguments)))
    except BaseException as error:
        sender.send((False, repr(error)))
        raise


def _receive(receiver: "Connection[Any, Any]") -> Any:
    try:
        has_succeeded, result = receiver.recv()
    except EOFError:
        raise RuntimeError("a process of the suite ended without an answer") from None
    if not has_succeeded:
        raise RuntimeError(f"a process of the suite has failed: {result}")
    return result
