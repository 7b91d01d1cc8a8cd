"""The metrics of a swarm in Prometheus's text format: stored records, and tasks ended since the first call."""

import asyncio
import os
from collections import Counter as Counts
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any
from weakref import WeakKeyDictionary

try:
    from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
except ImportError as error:
    raise ImportError(
        "metrics for Prometheus need prometheus-client; pip install 'swarm-persistence[prometheus]' brings it"
    ) from error
from prometheus_client.core import GaugeMetricFamily, Metric

from swarm_persistence.engines.following import end_of
from swarm_persistence.engines.interface import FeedPosition
from swarm_persistence.engines.reads import Count
from swarm_persistence.models import AgentModel, ClaimOutcome, TaskModel, TaskStatus
from swarm_persistence.query.builder import bound
from swarm_persistence.query.query import Condition, FromNow, Query
from swarm_persistence.query.task_statuses import IS_FINISHED, IS_HELD
from swarm_persistence.schema.tables import PAST_CLAIMS, TASKS
from swarm_persistence.schema.values import LARGEST_INTEGER, past_claims_of
from swarm_persistence.storage import Storage

_PREFIX = "swarm_persistence"
_OTHER = "other"
_BATCH = 1_000
_NOW = end_of(LARGEST_INTEGER - 1)
_SECONDS = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
_ENDED = Query(TASKS, (IS_FINISHED,))
_EXPIRED = Query(TASKS, (IS_HELD, Condition("lease_expires_at", "<=", FromNow())))
_LOST = (ClaimOutcome.LEASE_EXPIRED, ClaimOutcome.AGENT_LOST)


async def prometheus_text(storage: Storage, *, most_types: int = 100) -> str:
    """Return the metrics of a swarm in the text format of Prometheus, version 0.0.4.

    Counters and histograms begin with the first call for a storage, and count the tasks that have ended since, in any
    process; each call reads those that ended since the one before. A finished task that is written again counts again.

    The first `most_types` types of tasks, those of which most are stored first, have a label `type` of their own from
    then on, all others have `other`.

    Raises:
        InvalidQueryError: `most_types` is not a whole number of 0 or more.

    """
    ended = _ended_tasks.setdefault(storage, _EndedTasks())
    ended.types.most = bound("most_types", most_types)
    present = await _present_state(storage, ended.types)
    await ended.catch_up(storage)
    return generate_latest(_Families([*ended.registry.collect(), *present])).decode()


class _Types:
    """The task types with a label of their own: those seen first, as counters must not change their label."""

    def __init__(self) -> None:
        self.most = 0
        self._named: set[str] = set()

    def label(self, task_type: str) -> str:
        """Return the label of a type: its own if there is room, else `other`."""
        if task_type not in self._named:
            if len(self._named) >= self.most:
                return _OTHER
            self._named.add(task_type)
        return task_type


class _EndedTasks:
    """Counts the tasks of a storage that end."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.types = _Types()
        self._position: FeedPosition | None = None
        self._lock = asyncio.Lock()
        by_type: dict[str, Any] = {"labelnames": ["type"], "registry": self.registry}
        self._finished = Counter(
            f"{_PREFIX}_finished_tasks", "Tasks that have ended.", ["type", "status"], registry=self.registry
        )
        self._claims = Counter(f"{_PREFIX}_task_claims", "Claims that tasks had when they ended.", **by_type)
        self._retries = Counter(f"{_PREFIX}_task_retries", "Retries that tasks had when they ended.", **by_type)
        self._lost = Counter(
            f"{_PREFIX}_task_lost_leases",
            "Claims before the last one that tasks lost with their lease, or with the agent.",
            **by_type,
        )
        self._waits = Histogram(
            f"{_PREFIX}_task_wait_seconds",
            "How long tasks waited: from created_at or run_at, the later, until started_at.",
            buckets=_SECONDS,
            **by_type,
        )
        self._runs = Histogram(
            f"{_PREFIX}_task_run_seconds",
            "How long tasks ran: from started_at until completed_at.",
            buckets=_SECONDS,
            **by_type,
        )

    async def catch_up(self, storage: Storage) -> None:
        """Count the tasks that have ended since the last call."""
        async with self._lock:  # otherwise two concurrent scrapes would count the same tasks
            if self._position is None:
                self._position = (await storage.engine.follow(_ENDED, _NOW, 1)).position
            is_full = True
            while is_full:
                page = await storage.engine.follow(_ENDED, self._position, _BATCH)
                for row in page.rows:
                    self._count(dict(zip(TASKS.positions, row, strict=True)))
                self._position, is_full = page.position, page.is_full

    def _count(self, task: dict[str, Any]) -> None:
        task_type = self.types.label(task["task_type"])
        self._finished.labels(task_type, task["status"]).inc()
        self._claims.labels(task_type).inc(task["claim_count"])
        self._retries.labels(task_type).inc(task["retry_count"])
        self._lost.labels(task_type).inc(sum(each.outcome in _LOST for each in past_claims_of(task[PAST_CLAIMS])))
        started_at, completed_at = task["started_at"], task["completed_at"]
        if started_at is not None:
            ready_at = max(task["created_at"], task["run_at"] or 0)
            # Clients' clocks differ: a task may seem to have started before it was created.
            self._waits.labels(task_type).observe(max(started_at - ready_at, 0) / 1_000_000)
            if completed_at is not None:
                self._runs.labels(task_type).observe(max(completed_at - started_at, 0) / 1_000_000)


class _Families:
    """Metrics that have been collected already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        return self._families


async def _present_state(storage: Storage, types: _Types) -> list[Metric]:
    tasks, agents, waiting, expired, size = await asyncio.gather(
        storage.count_by(TaskModel, "task_type", "status"),
        storage.count_by(AgentModel, "status"),
        storage.get_waiting_tasks(),
        storage.engine.read(Count(_EXPIRED)),
        storage.get_storage_size(),
    )
    pool = storage.pool_status()
    connections = {("active",): pool.active, ("idle",): pool.idle}
    stored: Counts[tuple[str, TaskStatus]] = Counts()
    ready: Counts[tuple[str]] = Counts()
    ages: dict[tuple[str], float] = {}
    for (task_type, status), count in sorted(tasks.items(), key=itemgetter(1), reverse=True):
        stored[types.label(task_type), status] += count
    for each in waiting:
        label = (types.label(each.task_type),)
        ready[label] += each.count
        ages[label] = max(each.age_seconds, ages.get(label, 0.0))
    families: list[Metric] = [
        _gauge("tasks", "Stored tasks.", ["type", "status"], stored),
        _gauge("agents", "Stored agents.", ["status"], agents),
        _gauge("ready_tasks", "Tasks that could be claimed now.", ["type"], ready),
        _gauge("oldest_ready_task_age_seconds", "How long the oldest ready task has waited.", ["type"], ages),
        _gauge(
            "expired_leases",
            "Claims whose lease has expired, and that no worker has taken back yet.",
            [],
            {(): expired},
        ),
        _gauge("pool_connections", "Open connections.", ["state"], connections),
        _gauge("pool_connections_max", "The limit on open connections.", [], {(): pool.max}),
        _gauge("pool_waiting", "Calls that wait for a connection or the write lock.", [], {(): pool.waiting}),
        _gauge("storage_bytes", "Size of the store, including its log.", [], {(): size}),
    ]
    if (log := _log_bytes(storage)) is not None:
        families.append(_gauge("log_bytes", "Size of SQLite's write-ahead log.", [], {(): log}))
    return families


def _gauge(name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=labels)
    for group, value in values.items():
        family.add_metric([str(each) for each in group], value)
    return family


def _log_bytes(storage: Storage) -> int | None:
    path = getattr(storage, "path", None)
    if path is None:
        return None  # no other storage has a log of its own
    try:
        return os.stat(f"{path}-wal").st_size
    except FileNotFoundError:
        return 0


_ended_tasks: "WeakKeyDictionary[Storage, _EndedTasks]" = WeakKeyDictionary()
