"""The benchmark suite works: every row is measured, every peer does equal work, the page is written. No times."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.__main__ import run
from benchmarks.bench import Bench
from benchmarks.chart import draw, draw_tasks
from benchmarks.document import write_document
from benchmarks.headline.document import TASKS_RESULTS, TITLES, opening
from benchmarks.headline.sqlite_workers import WORKERS
from benchmarks.isolation import run_spawned
from benchmarks.peers import PEERS
from benchmarks.peers.peer import Work
from benchmarks.peers.swarm import Swarm
from benchmarks.peers.swarm_blocking import SwarmBlocking
from benchmarks.records import METRIC_TYPE, agent_name, make_events, make_metrics, make_tasks, span_of_metrics
from benchmarks.requirements import BenchmarkError
from benchmarks.results import Results, Row
from benchmarks.scale import SMOKE
from benchmarks.site import Site
from benchmarks.table import text_of
from benchmarks.targets import NOTES, judge
from benchmarks.workloads import WORKLOADS, claim_limits
from benchmarks.workloads.events import INSERT
from swarm_persistence import EventModel, Model

_SWARM_FAMILY = [key for key, peer in PEERS.items() if peer.family == "swarm"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(SMOKE, WORKLOADS, tmp_path_factory.mktemp("smoke"), lambda _: None)


def test_every_workload_measures_the_library(results: Results) -> None:
    measured = {row.workload for row in results.rows if row.peer in ("swarm", "memory")}

    assert measured == {workload.key for workload in WORKLOADS}


def test_every_peer_is_measured(results: Results) -> None:
    assert {row.peer for row in results.rows} == {*PEERS, "memory"}


def test_every_verb_of_a_peer_is_a_method() -> None:
    missing = [
        (key, verb)
        for key, peer in PEERS.items()
        for verb in peer.verbs
        if not callable(getattr(peer, verb, None)) and not issubclass(peer, Swarm)
    ]

    assert missing == []


def test_no_process_claims_what_another_has(results: Results) -> None:
    double = [row for row in results.of("processes") if row.unit == "double claims"]

    assert double
    assert all(sum(row.measurements) == 0 for row in double)


def test_claims_under_limits_are_compared_with_those_without(results: Results) -> None:
    for peer in ("swarm", "memory"):
        units = {row.unit for row in results.of(claim_limits.KEY) if row.peer == peer and row.median > 0}
        assert units == {
            *(f"{case}: {claim_limits.RATE}" for case in claim_limits.CASES),
            *(f"{case}: {claim_limits.TIMES}" for case in claim_limits.CASES[1:]),
        }


def test_results_come_back_equal_from_json(results: Results, tmp_path: Path) -> None:
    results.write(tmp_path / "results.json")

    assert Results.read(tmp_path / "results.json") == results


def test_the_page_and_the_table_name_every_workload(results: Results, tmp_path: Path) -> None:
    write_document(results, Results.read(TASKS_RESULTS), tmp_path / "performance.md")

    page, table = (tmp_path / "performance.md").read_text(), text_of(results)
    assert [workload.title for workload in WORKLOADS if workload.title not in page] == []
    assert [workload.title for workload in WORKLOADS if workload.title not in table] == []


def test_the_chart_is_drawn_as_png_and_svg(results: Results, tmp_path: Path) -> None:
    draw(results, tmp_path / "performance")

    assert (tmp_path / "performance.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "performance.svg").read_text()


def test_the_opening_and_its_picture_name_every_queue(tmp_path: Path) -> None:
    tasks = Results.read(TASKS_RESULTS)
    draw_tasks(tasks, tmp_path / "tasks.svg")

    text, picture = "\n".join(opening(tasks)), (tmp_path / "tasks.svg").read_text()
    assert [title for title in TITLES.values() if title not in text] == []
    assert [title for title in TITLES.values() if f"<!-- {title} -->" not in picture] == []


@pytest.mark.parametrize("key", WORKERS)
def test_workers_of_every_queue_on_sqlite_do_all_tasks_with_no_other_queue_imported(key: str, tmp_path: Path) -> None:
    packages = {name: name.replace("-", "") for name in WORKERS} | {"swarm": "swarm_persistence"}
    program = (
        "import json, sys; from benchmarks.headline.sqlite_workers import rate_of; "
        f"rate = rate_of({key!r}, {str(tmp_path)!r}, 20, 3); print(json.dumps([rate, [*sys.modules]]))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    rate, imported = json.loads(done.stdout)
    assert rate > 0
    assert {package for package in packages.values() if package in imported} == {packages[key]}


async def test_a_function_runs_in_a_process_that_has_imported_its_module_alone() -> None:
    expression = "'benchmarks' in __import__('sys').modules, 'sqlalchemy' in __import__('sys').modules"

    assert eval(expression) == (True, True)
    assert await run_spawned(eval, expression) == (True, False)


def test_a_target_that_falls_short_keeps_its_row_and_says_what_was_tried(results: Results, tmp_path: Path) -> None:
    notes = tmp_path / "notes.toml"
    notes.write_text("".join(f'[{verdict.key}]\nnote = "tried: nothing"\n' for verdict in judge(results, NOTES)))

    verdicts = judge(results, notes)

    assert {verdict.note for verdict in verdicts} == {"tried: nothing"}


def test_what_rounding_would_hide_is_said(results: Results) -> None:
    rows = [Row("insert", "swarm", 100, [2499.0]), Row("insert", "aiosqlite-isolated", 100, [100.0])]

    verdicts = judge(msgspec.structs.replace(results, rows=rows), NOTES)

    assert [(verdict.seen, verdict.is_reached) for verdict in verdicts] == [("25 ×, rounded up", False)]


def test_every_note_belongs_to_a_target() -> None:
    import tomllib

    from benchmarks.targets import KEYS

    assert set(tomllib.loads(NOTES.read_text())) <= KEYS


@pytest.mark.parametrize("key", _SWARM_FAMILY)
async def test_every_peer_stores_and_reads_the_same(key: str, tmp_path: Path) -> None:
    stored = make_events(300)
    peer: Any = PEERS[key]()
    path = tmp_path / "events.db"
    await peer.fill(str(path), stored)
    await peer.open(str(path))
    try:
        for verb, argument, expected in _expectations(stored):
            if verb in peer.verbs:
                answer = await _call(peer, verb, argument)
                assert _as_values(answer) == expected, verb
        new = make_events(1)[0]
        if "insert" in peer.verbs:
            await _call(peer, "insert", new)
            assert _as_values(await _call(peer, "get", new.id)) == [_values(new)]
    finally:
        await peer.close()


@pytest.mark.parametrize("key", [key for key, peer in PEERS.items() if "claim_next" in peer.verbs])
async def test_every_peer_claims_the_most_urgent_task_first(key: str, tmp_path: Path) -> None:
    tasks = make_tasks(8)
    peer: Any = PEERS[key]()
    path = tmp_path / "tasks.db"
    await peer.fill(str(path), tasks)
    await peer.open(str(path))
    try:
        first = [(await _call(peer, "claim_next", "agent-1")).id for _ in range(3)]
    finally:
        await peer.close()

    most_urgent = tasks if key == "persist-queue" else [tasks[3], tasks[7], tasks[2]]  # it knows no priorities
    assert first == [task.id for task in most_urgent[:3]]


@pytest.mark.parametrize("key", [key for key in _SWARM_FAMILY if "aggregate" in PEERS[key].verbs])
async def test_every_peer_aggregates_alike(key: str, tmp_path: Path) -> None:
    peer: Any = PEERS[key]()
    path = tmp_path / "metrics.db"
    await peer.fill(str(path), make_metrics(500))
    await peer.open(str(path))
    try:
        answer = await _call(peer, "aggregate", (METRIC_TYPE, *span_of_metrics(500)))
    finally:
        await peer.close()

    # Agent 0 has the values 0, 100, 200, 300 and 400.
    first = answer[0]
    found = (
        (first.agent_id, first.value, int(first.tags["count"])) if hasattr(first, "tags") else (first[0], *first[2:4])
    )
    assert (len(answer), found) == (100, (agent_name(0), 200.0, 5))


async def test_a_peer_that_loses_writes_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lose(self: object, event: EventModel) -> None:
        pass

    monkeypatch.setattr(PEERS["aiosqlite-isolated"], "insert", lose)
    bench = Bench(SMOKE, Site(tmp_path), lambda _: None)

    with pytest.raises(BenchmarkError, match="0 events are stored"):
        await INSERT.run(bench)


def _expectations(stored: Sequence[EventModel]) -> list[tuple[str, str, list[tuple[Any, ...]]]]:
    of_agent = [event for event in stored if event.agent_id == agent_name(7)]
    return [
        ("get", stored[5].id, [_values(stored[5])]),
        ("get", "missing", []),
        ("latest", agent_name(7), [_values(event) for event in reversed(of_agent)]),
    ]


async def _call(peer: Any, verb: str, argument: object) -> Any:
    assert Work(verb, argument).verb in peer.verbs
    method = getattr(peer, verb)
    if isinstance(peer, SwarmBlocking):
        return await asyncio.to_thread(method, argument)
    answer = method(argument)
    return answer if peer.blocks else await answer


def _as_values(answer: Any) -> list[tuple[Any, ...]]:
    if answer is None:
        return []
    return [_values(record) for record in (answer if isinstance(answer, list | tuple) else [answer])]


def _values(event: Model) -> tuple[Any, ...]:
    return tuple(getattr(event, name) for name in ("id", "event_type", "agent_id", "data", "timestamp"))
