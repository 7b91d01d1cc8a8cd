"""How late a document of 20 MB makes the event loop's other tasks; prints a line for each operation.

A task sleeps a millisecond at a time, and notes the longest delay of a round, and the most of the processor's time that
the process has used in one of its sleeps, which says more on a busy machine. Both are the medians of the rounds; the
delay is less that of rounds in which nothing else is done.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from benchmarks.machine import describe_machine
from benchmarks.own_server import own_server
from swarm_persistence import DocumentModel, Storage, init_storage

_BYTES = 20_000_000
_TICK_SECONDS = 0.001
_IDLE_SECONDS = 0.3
FILES = ("files",)


async def _idle(storage: Storage) -> None:
    await asyncio.sleep(_IDLE_SECONDS)


def _put(**fields: object) -> Callable[[Storage], Awaitable[object]]:
    document = DocumentModel.new(FILES, "large", **fields)  # type: ignore[arg-type]
    return lambda storage: storage.put_documents([document])


async def _get(storage: Storage) -> None:
    assert await storage.get_document(FILES, "large") is not None


async def _update(storage: Storage) -> None:
    await storage.modify(DocumentModel, DocumentModel.id_of(FILES, "large"), lambda document: None)


OPERATIONS: dict[str, Callable[[Storage], Awaitable[object]]] = {
    "nothing": _idle,
    "put of bytes": _put(data=os.urandom(_BYTES)),
    "get of bytes": _get,
    "modify of bytes": _update,
    "put of a text": _put(value={"text": "x" * _BYTES}),
    "get of a text": _get,
    "put of a list of numbers": _put(value=[*range(_BYTES // 8)]),
    "get of a list of numbers": _get,
}


async def longest_delay(work: Awaitable[object]) -> tuple[float, float]:
    """Return by how many milliseconds the loop was late at worst while the work was done, and busy in one go."""
    late = busy = 0.0

    async def tick() -> None:
        nonlocal late, busy
        while True:
            start, used = time.perf_counter(), time.process_time()
            await asyncio.sleep(_TICK_SECONDS)
            late = max(late, time.perf_counter() - start - _TICK_SECONDS)
            busy = max(busy, time.process_time() - used)

    ticker = asyncio.ensure_future(tick())
    await asyncio.sleep(2 * _TICK_SECONDS)
    await work
    await asyncio.sleep(2 * _TICK_SECONDS)
    ticker.cancel()
    with suppress(asyncio.CancelledError):
        await ticker
    return late * 1000, busy * 1000


async def measure(target: str, rounds: int) -> dict[str, tuple[float, float]]:
    """Return the delay of each operation, and the processor's time, in milliseconds."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in OPERATIONS}
    async with await init_storage(target) as storage:
        for _ in range(rounds):
            for name, operation in OPERATIONS.items():
                found[name].append(await longest_delay(operation(storage)))
    return {
        name: (statistics.median(late for late, _ in each), statistics.median(busy for _, busy in each))
        for name, each in found.items()
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "targets", nargs="*", help="paths and URLs; a new SQLite file, memory and a new server if none is given"
    )
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        machine = describe_machine(Path(folder), ("swarm-persistence", "apsw", "asyncpg", "msgspec"))
        print(*machine.lines(), sep="\n")
        targets = arguments.targets or [
            str(Path(folder) / "swarm.db"),
            ":memory:",
            stack.enter_context(own_server()),
        ]
        for target in targets:
            found = asyncio.run(measure(target, arguments.rounds))
            print(f"{target.rpartition('@')[2]}, median of {arguments.rounds} rounds")
            for name, (late, busy) in found.items():
                less = max(late - found["nothing"][0], 0.0) if name != "nothing" else late
                print(f"  {name:26}{less:8.1f} ms late{busy:8.1f} ms of the processor")


if __name__ == "__main__":
    main()
