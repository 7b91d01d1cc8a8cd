"""The names that the demo's records use: types of agents, tasks, events, messages and metrics."""

from uuid import UUID, uuid5

NAMESPACE = UUID("5b0f6c1e-6a1d-5d0b-9d57-5e0f5a3c7d21")
"""The namespace of the deterministic ids, which are the same in every run."""

COORDINATOR_ID = str(uuid5(NAMESPACE, "coordinator"))
COORDINATOR = "demo-coordinator"
WORKER = "demo-worker"

MEASURE_MODULE = "measure-module"
SUM_PACKAGE = "sum-package"
WRITE_REPORT = "write-report"
TASK_TYPES = (MEASURE_MODULE, SUM_PACKAGE, WRITE_REPORT)

RUN_STARTED = "run_started"
RUN_STOPPED = "run_stopped"
RUN_COMPLETED = "run_completed"
WORKER_STARTED = "worker_started"
WORKER_STOPPED = "worker_stopped"
WORKER_LOST = "worker_lost"
WORKER_KILLED = "worker_killed"
TASK_STARTED = "task_started"
TASK_COMPLETED = "task_completed"
TASK_FAILED = "task_failed"

FINDING = "finding"
DURATION = "duration_ms"
