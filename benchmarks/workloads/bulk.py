"""Rows about much at once: `store_many`, and the aggregate over many metrics."""

from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

from benchmarks.bench import Bench, Case
from benchmarks.peers import PEERS
from benchmarks.peers.peer import Work
from benchmarks.records import METRIC_TYPE, make_events, make_metrics, span_of_metrics
from benchmarks.requirements import require
from benchmarks.results import Row
from benchmarks.scale import Scale
from benchmarks.workloads.workload import ClosedLoop, Rows, run_once

_LONG_ENOUGH = 3600.0


class StoreMany:
    """One call with many events: how many a second."""

    key = "store-many"
    title = "Bulk insert"
    about = "One call (`store_many`, `executemany`, `add_all`) stores {batch:,} events in one transaction."

    async def run(self, bench: Bench) -> list[Row]:
        """Measure it."""
        events = make_events(bench.scale.batch)
        cases: list[Case] = [(peer.key, 1) for peer in PEERS.values() if "store_many" in peer.verbs]

        async def measure_once(case: Case) -> float:
            peer = PEERS[case[0]]()
            path = await bench.site.copy(self.key, peer, list)
            outcome = await run_once(peer, path, iter([Work("store_many", events)]), 1, _LONG_ENOUGH)
            found = bench.site.count(path, "events")
            require(found == len(events), f"{peer.title} has stored {found} of {len(events)} events")
            bench.site.remove(path)
            return len(events) / outcome.seconds

        return await bench.measure(self.key, cases, measure_once, "records per second")


def _aggregates(scale: Scale) -> Rows:
    span = (METRIC_TYPE, *span_of_metrics(scale.metrics))

    def works() -> Iterator[Work]:
        return repeat(Work("aggregate", span))

    return Rows(make_metrics(scale.metrics), works)


def _verify_aggregate(bench: Bench, path: Path, done: int) -> None:
    require(bench.site.count(path, "metrics") == bench.scale.metrics, "the aggregate has changed what it read")


AGGREGATE = ClosedLoop(
    key="aggregate",
    title="Aggregate of metrics",
    about="Each caller computes average, count, minimum, maximum and sum per agent over {metrics:,} metrics.",
    prepare=_aggregates,
    verify=_verify_aggregate,
    verbs=frozenset({"aggregate"}),
    most_in_flight=10,
)
