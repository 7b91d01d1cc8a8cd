"""Rows about tasks: claim by id, claim next, and the list of pending ones."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.peers.peer import Work
from benchmarks.records import agent_name, make_tasks
from benchmarks.requirements import require
from benchmarks.scale import Scale
from benchmarks.workloads.workload import ClosedLoop, Rows

LISTED = 100
"""Tasks that wait, of all that are stored."""


def _claims(scale: Scale) -> Rows:
    tasks = make_tasks(scale.operations)
    return Rows(tasks, lambda: (Work("claim", (task.id, agent_name(place))) for place, task in enumerate(tasks)))


def _claims_of_the_next(scale: Scale) -> Rows:
    tasks = make_tasks(scale.operations)
    return Rows(tasks, lambda: (Work("claim_next", agent_name(place)) for place in range(len(tasks))))


def _verify_claims(bench: Bench, path: Path, done: int) -> None:
    claimed = bench.site.count(path, "tasks", "status = 'assigned' AND version = 2")
    require(claimed == done, f"{claimed} tasks are claimed, and {done} were to be")


def _pending(scale: Scale) -> Rows:
    def works() -> Iterator[Work]:
        for number in count():
            yield Work("pending", number)

    return Rows(make_tasks(scale.records, pending=LISTED), works)


def _verify_pending(bench: Bench, path: Path, done: int) -> None:
    require(bench.site.count(path, "tasks", "status = 'pending'") == LISTED, "the list has changed what it read")


CLAIM = ClosedLoop(
    key="claim",
    title="Claim by id",
    about="Each caller claims one pending task after the other by its id; no two want the same.",
    prepare=_claims,
    verify=_verify_claims,
    verbs=frozenset({"claim"}),
)
CLAIM_NEXT = ClosedLoop(
    key="claim-next",
    title="Claim next",
    about=(
        "Each caller takes the most urgent pending task (of several, the one stored first), as a model. The library's "
        "`claim_next_task` also looks at dependencies and at `run_at`, and sets a lease; the others do not."
    ),
    prepare=_claims_of_the_next,
    verify=_verify_claims,
    verbs=frozenset({"claim_next"}),
)
PENDING = ClosedLoop(
    key="pending",
    title=f"Pending list of {LISTED}",
    about=f"Each caller reads the {LISTED} tasks that wait, most urgent first, as models.",
    prepare=_pending,
    verify=_verify_pending,
    verbs=frozenset({"pending"}),
    most_in_flight=100,
)
