"""Runs functions in processes of their own, so that memory and interpreter are theirs alone."""

import asyncio
import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, TypeVar

T = TypeVar("T")

# Forked from a server that has imported everything and opened nothing: no process measures another's imports or memory.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["benchmarks.workloads"])


async def run_isolated(function: Callable[..., T], *arguments: Any) -> T:
    """Run a function of a module in a new process, and return what it returns."""
    (result,) = await run_together(function, [arguments])
    return result


async def run_together(function: Callable[..., T], calls: Sequence[Sequence[Any]]) -> list[T]:
    """Run a function in as many new processes as there are calls, and return what each returns."""
    receivers = []
    processes = []
    for arguments in calls:
        receiver, sender = _CONTEXT.Pipe(duplex=False)
        process = _CONTEXT.Process(target=_run, args=(sender, function, tuple(arguments)))
        process.start()
        sender.close()
        receivers.append(receiver)
        processes.append(process)
    try:
        return [await asyncio.to_thread(_receive, receiver) for receiver in receivers]
    finally:
        for process in processes:
            process.join()


def barrier(parties: int) -> Any:
    """Return a barrier that can be an argument of processes that start together."""
    return _CONTEXT.Barrier(parties)


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
