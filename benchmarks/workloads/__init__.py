"""The workloads: every row of the suite."""

from benchmarks.workloads.bulk import AGGREGATE, StoreMany
from benchmarks.workloads.busy_loop import BusyLoop
from benchmarks.workloads.claim_limits import ClaimLimits
from benchmarks.workloads.events import INSERT, MIX, ORDERED_LIST, POINT_READ, TRANSACTION
from benchmarks.workloads.fan_in import FanIn
from benchmarks.workloads.growth import Growth
from benchmarks.workloads.iteration import Iteration
from benchmarks.workloads.memory import MemoryGrowth
from benchmarks.workloads.normal_durability import NormalDurability
from benchmarks.workloads.one_caller import OneCaller
from benchmarks.workloads.processes import Processes
from benchmarks.workloads.queue_depth import QueueDepth
from benchmarks.workloads.residency import Residency
from benchmarks.workloads.tasks import CLAIM, CLAIM_NEXT, PENDING
from benchmarks.workloads.threads import Threads
from benchmarks.workloads.workload import Workload

WORKLOADS: tuple[Workload, ...] = (
    INSERT,
    POINT_READ,
    ORDERED_LIST,
    MIX,
    CLAIM,
    CLAIM_NEXT,
    PENDING,
    StoreMany(),
    TRANSACTION,
    AGGREGATE,
    NormalDurability(),
    OneCaller(),
    Threads(),
    FanIn(),
    Processes(),
    BusyLoop(),
    Growth(),
    QueueDepth(),
    ClaimLimits(),
    MemoryGrowth(),
    Residency(),
    Iteration(),
)

__all__ = ["WORKLOADS", "Workload"]
