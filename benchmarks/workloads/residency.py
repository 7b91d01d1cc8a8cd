"""The memory that concurrent pending inserts take on top of the tasks that wait for them."""

import asyncio
import tempfile
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.isolation import run_isolated
from benchmarks.records import make_events
from benchmarks.results import Row
from swarm_persistence import SqliteStorage, Storage

UNIT = "mebibytes"
_FEWER = 10
_WAIT_SECONDS = 0.2


class Residency:
    """The peak of the resident memory while all callers wait, less what the callers themselves take."""

    key = "residency"
    title = "Memory of pending inserts"
    about = (
        "{callers:,} tasks call `store_event` at once. The figure is the peak of the process's resident memory, less "
        "the peak with an engine that holds nothing but a future for each call: what is left is what pending writes "
        "take beside their callers. The records are made beforehand."
    )

    async def run(self, bench: Bench) -> list[Row]:
        """Measure it, in a new process each."""
        measured: dict[int, list[float]] = {}
        for number in range(bench.scale.rounds):
            bench.say(f"{self.key}: round {number + 1} of {bench.scale.rounds}")
            for callers in (bench.scale.callers // _FEWER, bench.scale.callers):
                waiting = await run_isolated(peak_while_waiting, callers, str(bench.site.directory))
                storing = await run_isolated(peak_while_storing, callers, str(bench.site.directory))
                measured.setdefault(callers, []).append(storing - waiting)
        return [Row(self.key, "swarm", callers, values, UNIT) for callers, values in measured.items()]


def peak_while_storing(callers: int, directory: str) -> float:
    """Store from so many tasks at once, and return the peak of the resident memory in mebibytes."""
    return asyncio.run(_peak(callers, directory, is_storing=True))


def peak_while_waiting(callers: int, directory: str) -> float:
    """Do all but store."""
    return asyncio.run(_peak(callers, directory, is_storing=False))


async def _peak(callers: int, directory: str, *, is_storing: bool) -> float:
    with tempfile.TemporaryDirectory(dir=directory) as place:
        async with await SqliteStorage.open(Path(place) / "residency.db") as storage:
            events = make_events(callers)
            await storage.store_event(make_events(1)[0])
            before = peak_mebibytes()
            if is_storing:
                await asyncio.gather(*(storage.store_event(event) for event in events))
            else:
                engine = _HoldingEngine()
                asyncio.get_running_loop().call_later(_WAIT_SECONDS, engine.answer)
                waiting = Storage(engine)  # type: ignore[arg-type]  # it writes, and does nothing else
                await asyncio.gather(*(waiting.store_event(event) for event in events))
            return peak_mebibytes() - before


class _HoldingEngine:
    """Holds a future for every write until it is told to answer: the least that any engine can hold."""

    is_ephemeral = True
    schema_name = "swarm"

    def __init__(self) -> None:
        self._futures: list[asyncio.Future[list[int]]] = []

    def write(self, _: object) -> "asyncio.Future[list[int]]":
        future: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._futures.append(future)
        return future

    def answer(self) -> None:
        for future in self._futures:
            future.set_result([1])


def peak_mebibytes() -> float:
    # Not getrusage: its peak begins with that of the process that started this one.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status does not tell the peak of the resident memory")
