"""The blocking form in many threads, beside as many callers of the async form."""

from benchmarks.bench import Bench
from benchmarks.results import Row
from benchmarks.workloads.events import INSERT, POINT_READ

WRITING, READING = 64, 8
INSERTS, READS = "inserts per second", "point reads per second"


class Threads:
    """The closed loops of inserts and point reads, with other numbers in flight."""

    key = "threads"
    title = "Threads of the blocking form"
    about = (
        f"{WRITING} threads store events by the blocking form, and {WRITING} callers by the async form; {READING} "
        "threads read events by their ids, and one."
    )

    async def run(self, bench: Bench) -> list[Row]:
        """Measure it."""
        inserts = [("swarm", WRITING), ("swarm-blocking", WRITING)]
        reads = [("swarm-blocking", 1), ("swarm-blocking", READING)]
        return [
            *await INSERT.measure(bench, self.key, inserts, INSERTS),
            *await POINT_READ.measure(bench, self.key, reads, READS),
        ]
