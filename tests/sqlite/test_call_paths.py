"""How many functions and files a verb passes on SQLite, as a golden file: `UPDATE_GOLDEN=1` writes it anew.

Counted is what runs in all threads, once everything is open and cached, for one caller that awaits each call before the
next.
"""

import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio

from sqlite.calls import CallTrace, tracing_calls
from swarm_persistence import SqliteStorage, TaskModel, TaskStatus
from swarm_persistence.engines.sql.sqlite import file_identity, foreign_commits, submit, writer_connection
from swarm_persistence_conformance.records import a_task

GOLDEN = Path(__file__).parent / "golden" / "call_paths.txt"
REPETITIONS = 8
Call = Callable[[], Awaitable[object]]
Verb = Callable[[SqliteStorage], AsyncGenerator[Call, None]]


async def _stores(storage: SqliteStorage) -> AsyncGenerator[Call, None]:
    for number in count():
        yield partial(storage.store_task, a_task(f"stored-{number}"))


async def _claims(storage: SqliteStorage) -> AsyncGenerator[Call, None]:
    await storage.store_tasks([a_task(f"ready-{number}") for number in range(100)])
    while True:
        yield partial(storage.claim_next_task, "agent-1")


async def _completions(storage: SqliteStorage) -> AsyncGenerator[Call, None]:
    await storage.store_tasks([a_task(f"to-complete-{number}") for number in range(100)])
    while (task := await storage.claim_next_task("agent-1")) is not None:
        yield partial(storage.complete_task, task, {"sum": 3})


async def _reads(storage: SqliteStorage) -> AsyncGenerator[Call, None]:
    await storage.store_task(a_task("stored"))
    while True:
        yield partial(storage.get_task, "stored")


async def _transactions(storage: SqliteStorage) -> AsyncGenerator[Call, None]:
    async def move(task: TaskModel) -> None:
        async with storage.transaction():
            found = await storage.get_task("counted")
            assert found is not None
            await storage.update_task(found)
            await storage.store_task(task)

    await storage.store_task(a_task("counted", status=TaskStatus.RUNNING))
    for number in count():
        yield partial(move, a_task(f"moved-{number}"))


VERBS: dict[str, Verb] = {
    "store": _stores,
    "claim": _claims,
    "complete": _completions,
    "read": _reads,
    "transaction": _transactions,
}


MOST: dict[str, tuple[int, int]] = {"store": (25, 9), "claim": (40, 18), "complete": (50, 18)}
"""How many functions in how many files a verb may pass, whatever the golden file says."""


@pytest.fixture(autouse=True)
def _timeless(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let nothing depend on how fast this machine is: no timer runs out, and threads change only where one waits."""
    for module, name in (
        (submit, "_FIRST_CHECK_SECONDS"),
        (submit, "_IDLE_SECONDS"),
        (writer_connection, "_LONGEST_TRUST_SECONDS"),
        (file_identity, "_LONGEST_TRUST_OF_READS_SECONDS"),
        (foreign_commits, "_POLL_SECONDS"),
    ):
        monkeypatch.setattr(module, name, 3600.0)
    monkeypatch.setattr(writer_connection, "_QUICK_COMMITS_BEFORE_REPORTS", 1)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(60.0)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def trace() -> Iterator[CallTrace]:
    """Trace the calls of all threads that the test starts."""
    with tracing_calls() as trace:
        yield trace


@pytest_asyncio.fixture
async def storage(tmp_path: Path, trace: CallTrace) -> AsyncIterator[SqliteStorage]:
    """Give a storage whose threads are traced."""
    async with await SqliteStorage.builder().longest_stay(3600).build(tmp_path / "swarm.db") as storage:
        yield storage


async def _functions_of(verb: Verb, storage: SqliteStorage, trace: CallTrace) -> dict[str, list[str]]:
    """Return what all repetitions together pass, that included which follows once the caller has its answer."""
    calls = verb(storage)
    for _ in range(REPETITIONS):
        await (await anext(calls))()
    trace.wait_for_threads()
    trace.forget()
    for _ in range(REPETITIONS):
        call = await anext(calls)
        trace.wait_for_threads()
        trace.is_recording = True
        await call()
        trace.wait_for_threads()
        trace.is_recording = False
    await calls.aclose()
    return trace.functions


def _described(name: str, functions: dict[str, list[str]]) -> str:
    """Return the entry of a verb in the golden file."""
    lines = [f"{name}: {sum(map(len, functions.values()))} functions in {len(functions)} files"]
    lines += [f"  {len(names):>2} {file}" for file, names in functions.items()]
    return "\n".join(lines) + "\n"


def _golden(name: str) -> str:
    entries = GOLDEN.read_text().split("\n\n")
    return next((f"{each.strip()}\n" for each in entries if each.startswith(f"{name}:")), "")


def _rewrite(name: str, entry: str) -> None:
    entries = {each: _golden(each) for each in VERBS if GOLDEN.exists()} | {name: entry}
    GOLDEN.write_text("\n".join(entries[each] for each in VERBS if entries.get(each)))


@pytest.mark.parametrize("name", VERBS)
async def test_a_verb_passes_the_known_functions(storage: SqliteStorage, trace: CallTrace, name: str) -> None:
    functions = await _functions_of(VERBS[name], storage, trace)

    most_functions, most_files = MOST.get(name, (sys.maxsize, sys.maxsize))
    assert sum(map(len, functions.values())) <= most_functions, functions
    assert len(functions) <= most_files, functions
    entry = _described(name, functions)
    if os.environ.get("UPDATE_GOLDEN"):
        _rewrite(name, entry)
    assert entry == _golden(name), functions
