"""Facts about invalid arguments of the coordination verbs: each refuses them with an error that names them."""

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from swarm_persistence import InvalidQueryError, SerializationError, Storage, TaskStatus
from swarm_persistence_conformance.records import a_message, a_task, an_event
from swarm_persistence_conformance.refusals import refused

Call = Callable[[Storage, Any], Coroutine[Any, Any, Any]]

BAD_IDS: list[tuple[Any, str]] = [("", "empty"), ("a\0b", "NUL"), ("\ud800", "surrogate"), (7, "str"), (None, "str")]


def held(id: Any = "task-1") -> Any:
    """Return a task as a claim returns it."""
    return a_task(id, status=TaskStatus.ASSIGNED, assigned_to="agent-1", claim_count=1)


async def _watch(records: Any) -> None:
    await anext(records)


ID_CALLS: dict[str, Call] = {
    "claim_next_task": lambda storage, id: storage.claim_next_task(id),
    "claim_next_tasks": lambda storage, id: storage.claim_next_tasks(id, limit=2),
    "claim_next_tasks of none": lambda storage, id: storage.claim_next_tasks(id, limit=0),
    "complete_and_claim": lambda storage, id: storage.complete_and_claim([], id, limit=2),
    "complete_and_claim of a held task": lambda storage, id: storage.complete_and_claim(
        [(held(id), None)], "agent-1", limit=2
    ),
    "extend_lease": lambda storage, id: storage.extend_lease(held(id)),
    "complete_task": lambda storage, id: storage.complete_task(held(id)),
    "fail_task": lambda storage, id: storage.fail_task(held(id), "e"),
    "release_task": lambda storage, id: storage.release_task(held(id)),
    "cancel_task": lambda storage, id: storage.cancel_task(id),
    "release_tasks_of": lambda storage, id: storage.release_tasks_of(id),
    "retry_task": lambda storage, id: storage.retry_task(id),
    "wait_for_task": lambda storage, id: storage.wait_for_task(id),
    "wait_for_tasks": lambda storage, id: storage.wait_for_tasks([id]),
    "heartbeat": lambda storage, id: storage.heartbeat(id),
    "acknowledge_message": lambda storage, id: storage.acknowledge_message(id),
    "mark_messages_read": lambda storage, id: storage.mark_messages_read(id, up_to=a_message(to_agent=id)),
    "mark_messages_read up to a bad one": lambda storage, id: storage.mark_messages_read(
        "worker-001", up_to=a_message(id)
    ),
    "dependencies": lambda storage, id: storage.store_task(a_task(dependencies=["good", id])),
    "dependencies in a batch": lambda storage, id: storage.store_tasks([a_task(), a_task("b", dependencies=[id])]),
    "modify": lambda storage, id: storage.modify(type(a_task()), id, lambda task: task),
}
_TOO_LONG: list[Any] = [1e30, 10**400]
BAD_SECONDS: list[Any] = [-1, -0.001, timedelta(seconds=-1), float("nan"), float("inf"), *_TOO_LONG, True, "60", [60]]
NO_SECONDS: list[Any] = [0, 0.0, timedelta(0)]
POSITIVE: dict[str, tuple[str, Call]] = {
    "claim_task": ("lease", lambda storage, seconds: storage.claim_task("task-1", "a", lease=seconds)),
    "claim_next_task": ("lease", lambda storage, seconds: storage.claim_next_task("a", lease=seconds)),
    "aggregate_metrics": (
        "bucket",
        lambda storage, seconds: storage.aggregate_metrics("duration_ms", 0, 1, bucket=seconds),
    ),
    "claim_next_tasks": ("lease", lambda storage, seconds: storage.claim_next_tasks("a", limit=1, lease=seconds)),
    "extend_lease": ("lease", lambda storage, seconds: storage.extend_lease(held(), lease=seconds)),
    "requeue_expired_tasks": (
        "heartbeat_timeout",
        lambda storage, seconds: storage.requeue_expired_tasks(heartbeat_timeout=seconds),
    ),
}
NOT_NEGATIVE: dict[str, tuple[str, Call]] = {
    "claim_next_task": ("wait", lambda storage, seconds: storage.claim_next_task("a", wait=seconds)),
    "claim_next_tasks": ("wait", lambda storage, seconds: storage.claim_next_tasks("a", limit=1, wait=seconds)),
    "get_unmet_dependencies": (
        "missing_after",
        lambda storage, seconds: storage.get_unmet_dependencies(missing_after=seconds),
    ),
    "wait_for_task": ("timeout", lambda storage, seconds: storage.wait_for_task("task-1", timeout=seconds)),
    "prune": ("older_than", lambda storage, seconds: storage.prune(seconds)),
    "fail_task": ("retry_in", lambda storage, seconds: storage.fail_task(held(), "e", retry_in=seconds)),
    "release_task": ("retry_in", lambda storage, seconds: storage.release_task(held(), retry_in=seconds)),
}
BAD_TYPES: list[tuple[Any, type[Exception], str]] = [
    ("analysis", InvalidQueryError, "list of str"),
    (7, InvalidQueryError, "list of str"),
    (["a", 7], SerializationError, r"\[1\]"),
    ([None], SerializationError, r"\[0\]"),
    (["a\0"], SerializationError, "NUL"),
]
TYPE_CALLS: dict[str, tuple[str, Call]] = {
    "claim_next_task of types": ("task_types", lambda storage, types: storage.claim_next_task("a", task_types=types)),
    "claim_next_task of capabilities": (
        "capabilities",
        lambda storage, types: storage.claim_next_task("a", capabilities=types),
    ),
    "read_events": ("types", lambda storage, types: storage.read_events(types=types)),
    "watch_events": ("types", lambda storage, types: _watch(storage.watch_events(types=types))),
}
BOUND_CALLS: dict[str, tuple[str, Call]] = {
    "claim_next_tasks": ("limit", lambda storage, bound: storage.claim_next_tasks("a", limit=bound)),
    "fail_task": ("max_retries", lambda storage, bound: storage.fail_task(held(), "e", max_retries=bound)),
    "get_ready_tasks": ("limit", lambda storage, bound: storage.get_ready_tasks(bound)),
    "get_blocked_tasks": ("limit", lambda storage, bound: storage.get_blocked_tasks(bound)),
    "read_events": ("limit", lambda storage, bound: storage.read_events(limit=bound)),
    "read_events after": ("after", lambda storage, bound: storage.read_events(bound)),
    "watch_events": ("after", lambda storage, bound: _watch(storage.watch_events(bound))),
    "watch_messages": ("after", lambda storage, bound: _watch(storage.watch_messages("a", bound))),
    "append_events": (
        "expected_sequence",
        lambda storage, bound: storage.append_events([an_event()], expected_sequence=bound),
    ),
}


@pytest.mark.asyncio
class TestRefusedCoordination:
    """Every coordination verb refuses invalid arguments."""

    @pytest.mark.parametrize(("id", "words"), BAD_IDS)
    @pytest.mark.parametrize("call", ID_CALLS)
    async def test_an_id_that_is_none_is_refused(self, storage: Storage, call: str, id: Any, words: str) -> None:
        async with refused(storage, SerializationError, words):
            await ID_CALLS[call](storage, id)

    @pytest.mark.parametrize("seconds", [*BAD_SECONDS, *NO_SECONDS])
    @pytest.mark.parametrize("call", POSITIVE)
    async def test_a_time_that_is_not_above_zero_is_refused(self, storage: Storage, call: str, seconds: Any) -> None:
        name, verb = POSITIVE[call]
        async with refused(storage, InvalidQueryError, name, repr(seconds)[:100], "above 0"):
            await verb(storage, seconds)

    @pytest.mark.parametrize("seconds", BAD_SECONDS)
    @pytest.mark.parametrize("call", NOT_NEGATIVE)
    async def test_a_time_below_zero_is_refused(self, storage: Storage, call: str, seconds: Any) -> None:
        name, verb = NOT_NEGATIVE[call]
        async with refused(storage, InvalidQueryError, name, repr(seconds)[:100], "0 or more"):
            await verb(storage, seconds)

    @pytest.mark.parametrize(("types", "kind", "words"), BAD_TYPES)
    @pytest.mark.parametrize("call", TYPE_CALLS)
    async def test_types_that_are_no_texts_are_refused(
        self, storage: Storage, call: str, types: Any, kind: Any, words: str
    ) -> None:
        name, verb = TYPE_CALLS[call]
        async with refused(storage, kind, name, words.replace("\\", "")):
            await verb(storage, types)

    @pytest.mark.parametrize("bound", [-1, 1.0, "1", True, 2**63])
    @pytest.mark.parametrize("call", BOUND_CALLS)
    async def test_a_bound_that_is_no_whole_number_is_refused(self, storage: Storage, call: str, bound: Any) -> None:
        name, verb = BOUND_CALLS[call]
        async with refused(storage, InvalidQueryError, name, repr(bound)):
            await verb(storage, bound)

    @pytest.mark.parametrize("call", [*POSITIVE, *BOUND_CALLS])
    async def test_a_number_that_is_too_long_to_be_shown_is_refused(self, storage: Storage, call: str) -> None:
        name, verb = {**POSITIVE, **BOUND_CALLS}[call]
        async with refused(storage, InvalidQueryError, name, "too long to be shown"):
            await verb(storage, 10**5_000)

    @pytest.mark.parametrize("wrong", [None, "task-1", {"id": "task-1"}, an_event()])
    @pytest.mark.parametrize("verb", ["extend_lease", "complete_task", "release_task"])
    async def test_what_is_no_task_is_refused(self, storage: Storage, verb: str, wrong: Any) -> None:
        async with refused(storage, SerializationError, "TaskModel"):
            await getattr(storage, verb)(wrong)

    @pytest.mark.parametrize("wrong", [None, "task-1", {"id": "task-1"}, an_event()])
    async def test_what_is_no_task_cannot_fail(self, storage: Storage, wrong: Any) -> None:
        async with refused(storage, SerializationError, "TaskModel"):
            await storage.fail_task(wrong, "e")

    @pytest.mark.parametrize("wrong", [None, 7, b"e", "a\0b", "\ud800"])
    async def test_an_error_that_is_no_text_is_refused(self, storage: Storage, wrong: Any) -> None:
        async with refused(storage, SerializationError, "task.error"):
            await storage.fail_task(held(), wrong)

    @pytest.mark.parametrize("wrong", [None, "a", {"a": 1}, ("a",), {"a"}])
    async def test_dependencies_that_are_no_list_are_refused(self, storage: Storage, wrong: Any) -> None:
        async with refused(storage, SerializationError, "task.dependencies"):
            await storage.store_task(a_task(dependencies=wrong))

    @pytest.mark.parametrize("wrong", [None, "message-1", a_task()])
    async def test_a_mark_up_to_what_is_no_message_is_refused(self, storage: Storage, wrong: Any) -> None:
        async with refused(storage, SerializationError, "MessageModel"):
            await storage.mark_messages_read("worker-001", up_to=wrong)

    async def test_a_batch_of_tasks_or_events_takes_nothing_else(self, storage: Storage) -> None:
        wrong: Any = [an_event()]
        async with refused(storage, SerializationError, "TaskModel"):
            await storage.store_tasks(wrong)
        wrong = [a_task()]
        async with refused(storage, SerializationError, "EventModel"):
            await storage.append_events(wrong)
