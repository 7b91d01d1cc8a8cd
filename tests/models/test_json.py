"""Tests of the models' JSON: what goes out comes in equal, and what is not a record is refused."""

import json
from typing import Any

import pytest
from hypothesis import given

from swarm_persistence.errors import SerializationError
from swarm_persistence.models import AgentModel, Model, TaskModel
from swarm_persistence_conformance.records import MODELS, a_task, an_agent, complete_records
from swarm_persistence_conformance.strategies import any_records


@pytest.mark.parametrize("record", complete_records(), ids=lambda record: type(record).__name__)
def test_a_record_comes_back_from_its_json(record: Model) -> None:
    assert type(record).from_json(record.to_json()) == record


@pytest.mark.parametrize("record", complete_records(), ids=lambda record: type(record).__name__)
def test_a_record_comes_back_from_bytes(record: Model) -> None:
    assert type(record).from_json(record.to_json().encode()) == record


@given(any_records())
def test_any_record_comes_back_from_its_json(record: Model) -> None:
    assert type(record).from_json(record.to_json()) == record


def test_the_json_of_an_agent_has_the_seeds_names_and_values() -> None:
    agent = an_agent(capabilities=["analysis"], metadata={"k": [1, None]})

    assert json.loads(agent.to_json()) == {
        "id": "agent-1",
        "name": "worker-001",
        "agent_type": "researcher",
        "status": "initializing",
        "capabilities": ["analysis"],
        "metadata": {"k": [1, None]},
        "heartbeat": "2026-01-01T12:30:15.123456Z",
        "created_at": "2026-01-01T12:30:15.123456Z",
        "updated_at": "2026-01-01T12:30:15.123456Z",
        "group": None,
        "tags": {},
        "version": 0,
    }


def test_the_json_of_a_task_has_the_seeds_names_and_values() -> None:
    assert json.loads(a_task(payload={"big": 2**70}).to_json()) == {
        "id": "task-1",
        "task_type": "analyze-data",
        "priority": "medium",
        "status": "pending",
        "assigned_to": None,
        "payload": {"big": 2**70},
        "result": None,
        "error": None,
        "retry_count": 0,
        "max_retries": 3,
        "dependencies": [],
        "created_at": "2026-01-01T12:30:15.123456Z",
        "updated_at": "2026-01-01T12:30:15.123456Z",
        "started_at": None,
        "completed_at": None,
        "run_at": None,
        "lease_expires_at": None,
        "claim_count": 0,
        "idempotency_key": None,
        "concurrency_key": None,
        "required_capabilities": None,
        "fails_with_dependencies": True,
        "group": None,
        "tags": {},
        "key_policy": "for_ever",
        "trace_parent": None,
        "version": 0,
        "progress": None,
        "progress_text": None,
        "past_claims": [],
    }


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", '"text"', "{}", "\ud800", b"\xff", '{"id": 1}'])
def test_what_is_no_record_is_refused_with_the_models_name(model: type[Model], text: Any) -> None:
    with pytest.raises(SerializationError, match=model.__name__):
        model.from_json(text)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": "sleepy"}, "status"),
        ({"status": None}, "status"),
        ({"name": 1}, "name"),
        ({"capabilities": "x"}, "capabilities"),
        ({"capabilities": [1]}, "capabilities"),
        ({"metadata": []}, "metadata"),
        ({"created_at": "yesterday"}, "created_at"),
        ({"created_at": 0}, "created_at"),
        ({"version": "1"}, "version"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_field_that_does_not_fit_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    fields = json.loads(an_agent().to_json())

    with pytest.raises(SerializationError, match=rf"AgentModel: .*{words}"):
        AgentModel.from_json(json.dumps({**fields, **changes}))


def test_a_missing_field_is_refused_by_name() -> None:
    with pytest.raises(SerializationError, match=r"TaskModel: .*task_type"):
        TaskModel.from_json('{"id": "task-1"}')


@pytest.mark.parametrize("payload", [object(), "\ud800", {1: object()}, float("nan"), (1,), {1: 2}])
def test_a_record_that_has_no_json_form_is_refused_by_name(payload: Any) -> None:
    with pytest.raises(SerializationError, match="TaskModel 'task-1'"):
        a_task(payload=payload).to_json()


def test_json_that_is_nested_too_deeply_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(SerializationError, match="TaskModel 'task-1'"):
        a_task(payload=deep).to_json()
