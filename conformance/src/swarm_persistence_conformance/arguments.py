"""Facts about invalid arguments: every verb refuses them with an error that names them."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from swarm_persistence import AgentModel, InvalidQueryError, Model, SerializationError, Storage, TaskModel
from swarm_persistence_conformance.records import a_task, an_agent
from swarm_persistence_conformance.refusals import NAIVE, refused

Call = Callable[[Storage, Any], Coroutine[Any, Any, Any]]

BAD_IDS: list[tuple[Any, str]] = [("", "empty"), ("a\0b", "NUL"), ("\ud800", "surrogate"), (7, "str"), (None, "str")]
ID_CALLS: dict[str, Call] = {
    "get_agent": lambda storage, id: storage.get_agent(id),
    "delete_agent": lambda storage, id: storage.delete_agent(id),
    "get_task": lambda storage, id: storage.get_task(id),
    "get_tasks_by_agent": lambda storage, id: storage.get_tasks_by_agent(id),
    "claim_task of a bad task": lambda storage, id: storage.claim_task(id, "agent-1"),
    "claim_task by a bad agent": lambda storage, id: storage.claim_task("task-1", id),
    "get_events_by_agent": lambda storage, id: storage.get_events_by_agent(id, 1),
    "get_messages_between a bad one": lambda storage, id: storage.get_messages_between(id, "b", 1),
    "get_messages_between and a bad one": lambda storage, id: storage.get_messages_between("a", id, 1),
    "get_unread_messages": lambda storage, id: storage.get_unread_messages(id),
    "mark_message_read": lambda storage, id: storage.mark_message_read(id),
    "get_metrics_by_agent": lambda storage, id: storage.get_metrics_by_agent(id, "duration_ms"),
    "find_by_id": lambda storage, id: storage.repository(TaskModel).find_by_id(id),
    "delete": lambda storage, id: storage.repository(TaskModel).delete(id),
}
BAD_TIMES: list[Any] = [NAIVE, float("nan"), float("inf"), 1e30, -(10**20), 10**400, True, "2026-01-01", None]
TIME_CALLS: dict[str, Call] = {
    "get_events_since": lambda storage, time: storage.get_events_since(time),
    "get_aggregated_metrics from": lambda storage, time: storage.get_aggregated_metrics("duration_ms", time, 0),
    "get_aggregated_metrics to": lambda storage, time: storage.get_aggregated_metrics("duration_ms", 0, time),
}
LIMIT_CALLS: dict[str, Call] = {
    "get_events_by_agent": lambda storage, limit: storage.get_events_by_agent("a", limit),
    "get_events_by_type": lambda storage, limit: storage.get_events_by_type("a", limit),
    "get_messages_between": lambda storage, limit: storage.get_messages_between("a", "b", limit),
}


@pytest.mark.asyncio
class TestRefusedArguments:
    """Every verb refuses invalid arguments."""

    @pytest.mark.parametrize(("id", "words"), BAD_IDS)
    @pytest.mark.parametrize("call", ID_CALLS)
    async def test_an_id_that_no_record_can_have_is_refused(
        self, storage: Storage, call: str, id: Any, words: str
    ) -> None:
        await storage.store_task(a_task())

        async with refused(storage, SerializationError, repr(id), words):
            await ID_CALLS[call](storage, id)

    @pytest.mark.parametrize("time", BAD_TIMES)
    @pytest.mark.parametrize("call", TIME_CALLS)
    async def test_a_time_that_is_none_is_refused(self, storage: Storage, call: str, time: Any) -> None:
        async with refused(storage, SerializationError, "time", repr(time)[:100]):
            await TIME_CALLS[call](storage, time)

    @pytest.mark.parametrize("limit", [-1, 1.0, "1", None, True, 2**63])
    @pytest.mark.parametrize("call", LIMIT_CALLS)
    async def test_a_limit_that_is_no_whole_number_is_refused(self, storage: Storage, call: str, limit: Any) -> None:
        async with refused(storage, InvalidQueryError, "limit", repr(limit)):
            await LIMIT_CALLS[call](storage, limit)

    async def test_a_record_of_another_model_is_refused(self, storage: Storage) -> None:
        wrong: Any = a_task()

        async with refused(storage, SerializationError, "agent", "AgentModel"):
            await storage.store_agent(wrong)
        async with refused(storage, SerializationError, "agent", "AgentModel"):
            await storage.repository(AgentModel).save(wrong)

    @pytest.mark.parametrize("wrong", [{"id": "agent-1"}, None, "agent-1", AgentModel])
    async def test_what_is_no_model_is_refused(self, storage: Storage, wrong: Any) -> None:
        async with refused(storage, SerializationError, "AgentModel"):
            await storage.store_agent(wrong)

    @pytest.mark.parametrize("wrong", [{"id": "agent-1"}, None, "agent-1", AgentModel])
    async def test_a_batch_with_what_is_no_model_is_refused(self, storage: Storage, wrong: Any) -> None:
        async with refused(storage, InvalidQueryError, "AgentModel"):
            await storage.store_many([an_agent(), wrong])

    @pytest.mark.parametrize("wrong", [dict, None, "agents", Model])
    async def test_a_repository_of_no_model_is_refused(self, storage: Storage, wrong: Any) -> None:
        async with refused(storage, InvalidQueryError, "AgentModel"):
            storage.repository(wrong)
