"""The pools of random task verbs: few ids, agents, types and keys, so that they collide."""

from datetime import timedelta

from hypothesis import strategies as st

from swarm_persistence import KeyPolicy, TaskModel, TaskPriority, TaskStatus
from swarm_persistence.testing import ManualClock
from swarm_persistence_conformance.reference_limits import ReferenceLimit
from swarm_persistence_conformance.strategies import TRACE_PARENTS

MOST_COPIES = 10
_START = ManualClock().now()

IDS = st.sampled_from("abcdef")
AGENTS = st.sampled_from(["agent-1", "agent-2"])
TYPES = st.sampled_from([None, None, ["x"], ["y"], ["x", "y"], ["z"], []])
LEASES = st.sampled_from([50.0, 150.0, 350.0])
DEPENDENCIES = st.lists(IDS, max_size=2)
RUN_AT = st.sampled_from([None, None, *(_START + timedelta(seconds=each) for each in (-50, 150, 450))])
KEYS = st.sampled_from([None, None, None, "key-1", "key-2"])
CONCURRENCY_KEYS = st.sampled_from([None, "k", "l"])
COPY = st.integers(0, MOST_COPIES - 1)
STATUSES = st.sampled_from([*[TaskStatus.PENDING] * 6, TaskStatus.COMPLETED])

TASKS = st.builds(
    TaskModel,
    id=IDS,
    task_type=st.sampled_from("xy"),
    priority=st.sampled_from(TaskPriority),
    status=STATUSES,
    max_retries=st.integers(0, 2),
    dependencies=DEPENDENCIES,
    created_at=st.sampled_from([_START, _START - timedelta(seconds=1)]),
    updated_at=st.just(_START),
    run_at=RUN_AT,
    idempotency_key=KEYS,
    fails_with_dependencies=st.sampled_from([True, True, False]),
    key_policy=st.sampled_from(KeyPolicy),
    concurrency_key=CONCURRENCY_KEYS,
    required_capabilities=st.sampled_from([None, None, None, ("y",), ("x", "y")]),
)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(TaskStatus),
        "priority": st.sampled_from(TaskPriority),
        "max_retries": st.integers(0, 2),
        "retry_count": st.integers(0, 2),
        "dependencies": DEPENDENCIES,
        "run_at": RUN_AT,
        "idempotency_key": KEYS,
        "key_policy": st.sampled_from(KeyPolicy),
        "concurrency_key": CONCURRENCY_KEYS,
        "error": st.sampled_from([None, "spoilt"]),
        "fails_with_dependencies": st.booleans(),
        "trace_parent": st.none() | TRACE_PARENTS,
    },
)
LIMITS = st.sampled_from(
    [
        *(ReferenceLimit(running=number) for number in (0, 1, 2)),
        ReferenceLimit(per_key=1),
        ReferenceLimit(starts=2, per=150),  # no boundary at a time that passes: a server's clock keeps running
        ReferenceLimit(running=2, per_key=1, starts=3, per=250),
    ]
)
