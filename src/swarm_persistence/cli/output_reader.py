"""Detects that the program which reads standard output has exited, as `head` does after its lines."""

import asyncio
import select
import sys
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_POLL_SECONDS = 0.1


async def reader_gone() -> None:
    """Return once nothing reads standard output any more; never if it is a file, or the system cannot tell."""
    try:
        descriptor = sys.stdout.fileno()
        poll = select.poll()
    except (OSError, AttributeError):  # replaced by a Python object; or on Windows
        await asyncio.Event().wait()
        return
    poll.register(descriptor, 0)  # POLLHUP is reported whatever the mask
    while True:
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
            return
        await asyncio.sleep(_POLL_SECONDS)


def while_read(work: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Cancel a function once nothing reads what it prints, and raise `BrokenPipeError`.

    Printing the next line would raise it as well, but may be far off. Only for functions that change nothing.
    """

    @wraps(work)
    async def work_while_read(*arguments: P.args, **named: P.kwargs) -> T:
        working = asyncio.ensure_future(work(*arguments, **named))
        gone = asyncio.ensure_future(reader_gone())
        try:
            await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise BrokenPipeError
            return working.result()
        finally:
            working.cancel()
            gone.cancel()
            await asyncio.wait((working, gone))

    return work_while_read
