"""Times what a swarm does most, in the page's Python; milliseconds, the median of some rounds."""

import asyncio
import platform
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter

from swarm_persistence import DocumentModel, QueryBuilder, Storage, TaskModel, TaskPriority
from swarm_persistence.backends.wasm import WasmStorage

START = datetime(2026, 1, 1, tzinfo=UTC)


def task(id: str, place: int) -> TaskModel:
    """Return a task like those of `plain.js`."""
    moment = START + timedelta(seconds=place)
    priority = list(TaskPriority)[place % 4]
    payload = {"dataset": "sales.csv", "page": place}
    return TaskModel(
        id=id, task_type="analyze", payload=payload, priority=priority, created_at=moment, updated_at=moment
    )


def key_of(place: int) -> str:
    """Return the key of a document, which sorts as the places do."""
    return f"{place:06}"


def document(collection: tuple[str, ...], place: int) -> DocumentModel:
    """Return a document like those of `plain.js`: forty words, two of which every tenth document has."""
    words = [f"word-{(place * 31 + word * 17) % 997}" for word in range(38)]
    text = " ".join([*words, *(["seldom", "found"] if place % 10 == 0 else ["often", "there"])])
    return DocumentModel.new(collection, key_of(place), {"kind": f"kind-{place % 50}", "text": text})


async def milliseconds(rounds: int, call: Callable[[int], Awaitable[object]]) -> float:
    """Return how long a call takes."""
    times = []
    for place in range(rounds):
        start = perf_counter()
        await call(place)
        times.append(perf_counter() - start)
    return median(times) * 1000


async def measure(name: str, calls: int, batches: int, records: int, large: int) -> dict[str, float]:
    """Time each kind of work on a fresh database."""
    async with await WasmStorage.open(name) as storage:
        ids = [f"single-{place}" for place in range(calls)]
        return {
            "put": await milliseconds(calls, lambda place: storage.store_task(task(ids[place], place))),
            "batch": await milliseconds(batches, lambda place: _batch(storage, f"batch-{place}", records)) / records,
            "at once": await milliseconds(batches, lambda place: _at_once(storage, f"at-{place}", records)) / records,
            "get": await milliseconds(calls, lambda place: storage.get_task(ids[place])),
            "claim": await milliseconds(calls, lambda place: storage.claim_task(ids[place], "agent-1")),
            "change": await milliseconds(calls, lambda place: _count(storage, ids[place])),
            "select": await _measure_select(f"{name}-select", batches, records),
            **await _measure_documents(f"{name}-documents", calls, batches, records),
            **await _measure_large(f"{name}-large", batches, large),
        }


async def python_version() -> str:
    """Return the version of this Python."""
    return platform.python_version()


async def _measure_select(name: str, times: int, records: int) -> float:
    """Time an ordered select of pending tasks."""
    async with await WasmStorage.open(name) as storage:
        await _batch(storage, "pending", records)
        return await milliseconds(times, lambda _: storage.get_pending_tasks())


async def _measure_documents(name: str, calls: int, batches: int, records: int) -> dict[str, float]:
    """Time documents: put, get, list, search."""
    kept = ("kept",)
    async with await WasmStorage.open(name) as storage:
        many = [document(kept, place) for place in range(records)]
        find = QueryBuilder(DocumentModel).where_eq("collection", kept).where_json("value", "kind", "eq", "kind-7")
        return {
            "put document": await milliseconds(calls, lambda place: storage.put_documents([document(("one",), place)])),
            "put documents": await milliseconds(batches, lambda _: storage.put_documents(many)) / records,
            "get document": await milliseconds(calls, lambda place: storage.get_document(("one",), key_of(place))),
            "list documents": await milliseconds(batches, lambda _: storage.list_documents(kept)),
            "search documents": await milliseconds(
                batches, lambda _: storage.search_documents("seldom found", kept, limit=10)
            ),
            "filter documents": await milliseconds(batches, lambda _: storage.repository(DocumentModel).query(find)),
        }


async def _measure_large(name: str, times: int, size: int) -> dict[str, float]:
    """Time a document of many bytes, and how late it makes the event loop."""
    values = [bytes([number]) * size for number in range(2)]
    place = ("large",)
    id = DocumentModel.id_of(place, "1")

    def changed(document: DocumentModel) -> None:
        document.data = values[document.version % 2]

    async with await WasmStorage.open(name) as storage:
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "put large": lambda: storage.put_documents([DocumentModel.new(place, "1", data=values[0])]),
            "get large": lambda: storage.get_document(place, "1"),
            "update large": lambda: storage.modify(DocumentModel, id, changed),
        }
        found: dict[str, float] = {}
        for kind, call in calls.items():
            measured = [await _time_and_delay(call) for _ in range(times)]
            found[kind] = median(time for time, _ in measured)
            found[f"{kind}, late"] = median(delay for _, delay in measured)
        return found


async def _time_and_delay(call: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Return how long a call takes, and the longest time between two turns of the event loop meanwhile."""
    longest = 0.0

    async def turn() -> None:
        nonlocal longest
        while True:
            start = perf_counter()
            await asyncio.sleep(0)
            longest = max(longest, perf_counter() - start)

    turning = asyncio.ensure_future(turn())
    await asyncio.sleep(0)
    start = perf_counter()
    await call()
    taken = perf_counter() - start
    await asyncio.sleep(0)
    turning.cancel()
    with suppress(asyncio.CancelledError):
        await turning
    return taken * 1000, longest * 1000


async def _batch(storage: Storage, prefix: str, records: int) -> None:
    await storage.store_many([task(f"{prefix}-{place}", place) for place in range(records)])


async def _at_once(storage: Storage, prefix: str, records: int) -> None:
    await asyncio.gather(*(storage.store_task(task(f"{prefix}-{place}", place)) for place in range(records)))


async def _count(storage: Storage, id: str) -> None:
    async with storage.transaction():
        found = await storage.get_task(id)
        assert found is not None
        found.payload["page"] += 1
        await storage.update_task(found)
