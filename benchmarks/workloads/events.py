"""Rows about events: insert, point read, ordered list, the mix, and transactions of ten writes."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.peers.peer import Work
from benchmarks.peers.statements import LISTED
from benchmarks.records import AGENTS, agent_name, make_events
from benchmarks.requirements import require
from benchmarks.scale import Scale
from benchmarks.workloads.workload import ClosedLoop, Rows

_WRITES = 10
_READ_SHARE = 0.8


def _stored_all(expected: Callable[[Bench, int], int]) -> Callable[[Bench, Path, int], None]:
    """Return a check that the table holds as many events as it should."""

    def verify(bench: Bench, path: Path, done: int) -> None:
        found, wanted = bench.site.count(path, "events"), expected(bench, done)
        require(found == wanted, f"{found} events are stored, and {wanted} were to be")

    return verify


def _random_ids(ids: list[str]) -> Callable[[], Iterator[Work]]:
    def works() -> Iterator[Work]:
        chosen = random.Random(1).choices(ids, k=100_000)
        while True:
            for id in chosen:
                yield Work("get", id)

    return works


def _inserts(scale: Scale) -> Rows:
    events = make_events(scale.operations)
    return Rows([], lambda: (Work("insert", event) for event in events))


def _point_reads(scale: Scale) -> Rows:
    events = make_events(scale.records)
    return Rows(events, _random_ids([event.id for event in events]))


def _lists(scale: Scale) -> Rows:
    def works() -> Iterator[Work]:
        while True:
            for number in range(AGENTS):
                yield Work("latest", agent_name(number))

    return Rows(make_events(max(scale.records, AGENTS * LISTED)), works)


def _mix(scale: Scale) -> Rows:
    stored = make_events(scale.records)
    new = make_events(scale.operations)
    ids = [event.id for event in stored]
    chance = random.Random(2)
    chosen = [chance.random() < _READ_SHARE for _ in range(1000)]

    def works() -> Iterator[Work]:
        fresh, reads = iter(new), _random_ids(ids)()
        while True:
            for is_read in chosen:
                if is_read:
                    yield next(reads)
                else:
                    event = next(fresh, None)
                    if event is None:
                        return
                    yield Work("insert", event)

    return Rows(stored, works)


def _count_after_mix(bench: Bench, path: Path, done: int) -> None:
    added = bench.site.count(path, "events") - bench.scale.records
    require(0 <= added <= done, f"the mix of {done} operations has stored {added} events")


def _transactions(scale: Scale) -> Rows:
    events = make_events(scale.operations)
    tens = [events[start : start + _WRITES] for start in range(0, len(events), _WRITES)]
    return Rows([], lambda: (Work("write_ten", ten) for ten in tens))


INSERT = ClosedLoop(
    key="insert",
    title="Single insert",
    about="Each caller stores one event at a time.",
    prepare=_inserts,
    verify=_stored_all(lambda bench, done: done),
    verbs=frozenset({"insert"}),
)
POINT_READ = ClosedLoop(
    key="point-read",
    title="Point read and decode",
    about="Each caller reads a random event by its id, as a model.",
    prepare=_point_reads,
    verify=_stored_all(lambda bench, done: bench.scale.records),
    verbs=frozenset({"get"}),
)
ORDERED_LIST = ClosedLoop(
    key="ordered-list",
    title=f"Ordered list of {LISTED}",
    about=f"Each caller reads an agent's newest {LISTED} events, as models.",
    prepare=_lists,
    verify=_stored_all(lambda bench, done: max(bench.scale.records, AGENTS * LISTED)),
    verbs=frozenset({"latest"}),
    most_in_flight=100,
)
MIX = ClosedLoop(
    key="mix",
    title="80/20 mix",
    about="Four point reads to one insert, in random order.",
    prepare=_mix,
    verify=_count_after_mix,
    verbs=frozenset({"insert", "get"}),
)
TRANSACTION = ClosedLoop(
    key="transaction",
    title=f"Transaction of {_WRITES} writes",
    about=f"Each caller stores {_WRITES} events, one call each, in a transaction of its own.",
    prepare=_transactions,
    verify=_stored_all(lambda bench, done: done * _WRITES),
    verbs=frozenset({"write_ten"}),
    most_in_flight=100,
    unit="transactions per second",
)
