"""Facts about the trace of a caller, which it names in `traceparent`, where the server itself is traced or not."""

import pytest

from swarm_persistence import MemoryStorage
from swarm_persistence.telemetry import instrument
from telemetry.recorded import Recorded, trace_parent
from web.servers import client_of

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_task_carries_the_trace_of_its_caller_also_by_a_server_that_is_not_traced() -> None:
    async with client_of() as client:
        answers = [
            await client.post("/api/v1/tasks", json={"task_type": "step", **body}, headers={"traceparent": CALLER})
            for body in ({}, {"trace_parent": CALLER.replace("0af", "111")})
        ]

    assert [answer.json()["trace_parent"] for answer in answers] == [CALLER, CALLER.replace("0af", "111")]


@pytest.mark.parametrize(
    "headers",
    [
        [("traceparent", "nonsense")],
        [("traceparent", CALLER.replace("00-", "ff-", 1))],
        [("traceparent", f"00-{'0' * 32}-b7ad6b7169203331-01")],
        [("traceparent", CALLER), ("traceparent", CALLER)],
    ],
)
async def test_a_malformed_trace_is_none(headers: list[tuple[str, str]]) -> None:
    async with client_of() as client:
        answer = await client.post("/api/v1/tasks", json={"task_type": "step"}, headers=headers)

    assert (answer.status_code, answer.json()["trace_parent"]) == (201, None)


async def test_a_malformed_trace_in_a_task_is_refused() -> None:
    async with client_of() as client:
        stored = (await client.post("/api/v1/tasks", json={"task_type": "step"})).json()
        answers = [
            await client.post("/api/v1/tasks", json={"task_type": "step", "trace_parent": "nonsense"}),
            await client.patch(f"/api/v1/tasks/{stored['id']}", json={"trace_parent": "nonsense"}),
        ]
        found = (await client.get("/api/v1/tasks")).json()

    for answer in answers:
        assert answer.status_code in (400, 422)
        assert "task.trace_parent is 'nonsense', expected W3C's traceparent" in answer.text
    assert "nonsense" not in str(found)


async def test_a_server_that_is_traced_continues_the_trace_unless_its_application_has() -> None:
    recorded = Recorded()
    async with MemoryStorage() as storage, client_of(storage) as client:
        instrument(storage, tracer_provider=recorded.tracer_provider, meter_provider=recorded.meter_provider)
        headers = {"traceparent": CALLER}
        answer = await client.post("/api/v1/tasks", json={"task_type": "step"}, headers=headers)
        with recorded.tracer.start_as_current_span("POST /api/v1/tasks") as application:
            await client.post("/api/v1/tasks", json={"task_type": "other"}, headers=headers)

    stored, other = recorded.span("store step"), recorded.span("store other")
    assert stored.parent is not None
    assert other.parent is not None
    assert f"{stored.parent.trace_id:032x}-{stored.parent.span_id:016x}" == CALLER[3:-3]
    assert answer.json()["trace_parent"] == trace_parent(stored)
    assert other.parent.span_id == application.get_span_context().span_id
