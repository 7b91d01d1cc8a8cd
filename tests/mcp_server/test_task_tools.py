"""Facts about the tools that claim, end and change tasks, as a client sees them over stdio."""

import asyncio
from pathlib import Path
from typing import Literal

import pytest

from mcp_server.connections import call, connected, failure, read
from swarm_persistence import SqliteStorage, TaskModel
from telemetry.recorded import Recorded


@pytest.mark.parametrize("protocol", ["auto", "legacy"])
async def test_a_task_goes_from_one_agent_to_another(tmp_path: Path, protocol: Literal["auto", "legacy"]) -> None:
    async with connected(tmp_path / "swarm.db", protocol) as client:
        me = (await call(client, "register_agent", name="coder", agent_type="coder"))["agent_id"]
        first = await call(client, "enqueue_task", task_type="plan", payload={"goal": "größer"}, priority="low")
        second = await call(client, "enqueue_task", task_type="build", dependencies=[first["task_id"]], priority="high")
        claimed = await call(client, "claim_next_task", agent_id=me, lease_seconds=60)
        held = {"task_id": first["task_id"], "agent_id": me, "claim": claimed["claim"]}
        extended = await call(client, "extend_lease", **held, lease_seconds=600)
        await call(client, "complete_task", **held, result=["done", 1.0, None])
        next_one = await call(client, "claim_next_task", agent_id=me)
        whole = await read(client, f"swarm://tasks/{first['task_id']}")

    assert claimed["task"]["payload"] == {"goal": "größer"}
    assert extended["lease_expires_at"] > claimed["task"]["lease_expires_at"]
    assert next_one["task"]["id"] == second["task_id"]
    assert (whole["status"], whole["result"], whole["assigned_to"]) == ("completed", ["done", 1.0, None], me)


async def test_a_failed_task_is_retried_unless_its_agent_says_no(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        task_id = (await call(client, "enqueue_task", task_type="t"))["task_id"]
        claim = (await call(client, "claim_next_task", agent_id="a"))["claim"]
        retried = await call(
            client, "fail_task", task_id=task_id, agent_id="a", claim=claim, error="no network", retry_in_seconds=0
        )
        claim = (await call(client, "claim_next_task", agent_id="b"))["claim"]
        failed = await call(
            client, "fail_task", task_id=task_id, agent_id="b", claim=claim, error="no such page", retry=False
        )

    assert retried == {"task_id": task_id, "status": "pending", "retries": "1 of 3"}
    assert failed["status"] == "failed"


async def test_a_claim_that_is_over_completes_nothing(tmp_path: Path) -> None:
    async with await SqliteStorage.open(tmp_path / "swarm.db") as storage:
        await storage.store_task(TaskModel.new("t", None))
        async with connected(tmp_path / "swarm.db") as client:
            stale = await call(client, "claim_next_task", agent_id="a")
            held = await storage.get_task(stale["task"]["id"])
            assert held is not None
            await storage.release_task(held)
            again = await call(client, "claim_next_task", agent_id="a")
            refusal = await failure(
                client, "complete_task", task_id=held.id, agent_id="a", claim=stale["claim"], result="late"
            )
            foreign = await failure(client, "complete_task", task_id=held.id, agent_id="b", claim=again["claim"])
        stored = await storage.get_task(held.id)

    assert again["claim"] == stale["claim"] + 1
    assert held.id in refusal
    assert held.id in foreign
    assert stored is not None
    assert (stored.status.value, stored.result) == ("assigned", None)


async def test_the_claim_of_a_dead_agent_is_given_to_another_one(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        task_id = (await call(client, "enqueue_task", task_type="t"))["task_id"]
        await call(client, "claim_next_task", agent_id="dead", lease_seconds=0.001)
        claimed = {"task": None}
        while claimed["task"] is None:
            claimed = await call(client, "claim_next_task", agent_id="alive")

    assert claimed["task"]["id"] == task_id


async def test_progress_is_shown_while_the_claim_holds(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        task = await call(client, "enqueue_task", task_type="t", concurrency_key="k", required_capabilities=["gpu"])
        me = (await call(client, "register_agent", name="a", agent_type="t", capabilities=["gpu"]))["agent_id"]
        claimed = await call(client, "claim_next_task", agent_id=me)
        held = {"task_id": task["task_id"], "agent_id": me, "claim": claimed["claim"]}
        await call(client, "report_progress", **held, progress=0.25, text="1 of 4")
        (shown,) = (await call(client, "list_tasks"))["tasks"]
        refused = await failure(client, "report_progress", **held, progress=2)
        late = await failure(client, "report_progress", **{**held, "claim": 7}, progress=0.5)

    assert (shown["progress"], shown["progress_text"]) == (0.25, "1 of 4")
    assert (shown["concurrency_key"], shown["required_capabilities"]) == ("k", ["gpu"])
    assert "progress" in refused
    assert "the claim number 7" in late


async def test_what_a_person_decides_is_recorded(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        first = (await call(client, "enqueue_task", task_type="approval"))["task_id"]
        second = (await call(client, "enqueue_task", task_type="approval"))["task_id"]
        approved = await call(client, "approve_task", task_id=first, by="alice", comment="fine")
        rejected = await call(client, "reject_task", task_id=second, by="bob", comment="too early")
        again = await failure(client, "reject_task", task_id=first, by="bob")
        whole = [await read(client, f"swarm://tasks/{id}") for id in (first, second)]

    assert (approved["status"], rejected["status"]) == ("completed", "failed")
    assert whole[0]["result"] == {"approved": True, "by": "alice", "comment": "fine"}
    assert whole[1]["error"] == "rejected by bob: too early"
    assert "only a pending task can be approved or rejected" in again


async def test_a_claim_waits_for_a_task_of_another_process(tmp_path: Path) -> None:
    async with (
        await SqliteStorage.open(tmp_path / "swarm.db") as storage,
        connected(tmp_path / "swarm.db") as client,
    ):
        waiting = asyncio.create_task(call(client, "claim_next_task", agent_id="a", wait_seconds=50))
        await call(client, "swarm_status")
        task = await storage.store_task(TaskModel.new("t", None))
        claimed = await waiting

    assert claimed["task"]["id"] == task.id


async def test_a_key_is_free_once_its_task_has_ended_if_its_policy_says_so(tmp_path: Path) -> None:
    new = {"task_type": "t", "idempotency_key": "once", "key_policy": "while_active"}
    waiting = {"fails_with_dependencies": False, "dependencies": ["missing"]}
    async with connected(tmp_path / "swarm.db") as client:
        first = await call(client, "enqueue_task", **new, **waiting)
        again = await call(client, "enqueue_task", **new, **waiting)
        async with await SqliteStorage.open(tmp_path / "swarm.db") as storage:
            stored = await storage.get_task(first["task_id"])
            await storage.cancel_task(first["task_id"])
        second = await call(client, "enqueue_task", **new)

    assert stored is not None
    assert stored.fails_with_dependencies is False
    assert (again["task_id"], again["created"]) == (first["task_id"], False)
    assert second["created"] is True


async def test_blocked_tasks_are_listed_with_what_each_waits_for(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        first = await call(client, "enqueue_task", task_type="t")
        waiting = [first["task_id"], "later"]
        for priority in ("low", "high"):
            await call(client, "enqueue_task", task_type="t", dependencies=waiting, priority=priority)
        every = await call(client, "list_blocked_tasks")
        one = await call(client, "list_blocked_tasks", limit=1)

    assert [task["priority"] for task in every["tasks"]] == ["high", "low"]
    assert every["tasks"][0]["waits_for"] == [
        {"id": first["task_id"], "status": "pending", "is_missing": False},
        {"id": "later", "status": None, "is_missing": False},
    ]
    assert "more" not in every
    assert one == {"tasks": every["tasks"][:1], "more": "list_blocked_tasks with a larger limit"}


async def test_a_task_is_released_cancelled_and_begun_anew(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        task_id = (await call(client, "enqueue_task", task_type="t"))["task_id"]
        claim = (await call(client, "claim_next_task", agent_id="a"))["claim"]
        of_another = await failure(client, "release_task", task_id=task_id, agent_id="b")
        states = [
            await call(client, "release_task", task_id=task_id, agent_id="a", claim=claim),
            await call(client, "cancel_task", task_id=task_id),
            await call(client, "retry_task", task_id=task_id),
        ]
        await call(client, "claim_next_task", agent_id="a")
        states.append(await call(client, "release_task", task_id=task_id, retry_in_seconds=600))
        later = await call(client, "claim_next_task", agent_id="a")
        refused = [
            await failure(client, "retry_task", task_id=task_id),
            await failure(client, "release_task", task_id=task_id),
            await failure(client, "cancel_task", task_id="none"),
        ]

    assert "over" in of_another
    assert [each["status"] for each in states] == ["pending", "cancelled", "pending", "pending"]
    assert later["task"] is None
    assert "only a task that is finished can be retried" in refused[0]
    assert "no agent holds it" in refused[1]
    assert "task 'none'" in refused[2]


async def test_a_result_is_awaited(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        task_id = (await call(client, "enqueue_task", task_type="t"))["task_id"]
        early = await call(client, "wait_for_task", task_id=task_id, wait_seconds=0.01)
        waiting = asyncio.create_task(call(client, "wait_for_task", task_id=task_id, wait_seconds=50))
        claim = (await call(client, "claim_next_task", agent_id="a"))["claim"]
        await call(client, "complete_task", task_id=task_id, agent_id="a", claim=claim, result={"sum": 6})
        done = await waiting

    assert early["task"] is None
    assert (done["task"]["status"], done["task"]["result"]) == ("completed", {"sum": 6})


async def test_a_claim_is_by_capabilities_that_are_registered_or_given(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        for _ in range(2):
            await call(client, "enqueue_task", task_type="t", required_capabilities=["gpu"])
        me = (await call(client, "register_agent", name="a", agent_type="w", capabilities=["gpu"]))["agent_id"]
        claims = [
            await call(client, "claim_next_task", agent_id="other"),
            await call(client, "claim_next_task", agent_id=me, capabilities=[]),
            await call(client, "claim_next_task", agent_id=me, ageing_seconds=600),
            await call(client, "claim_next_task", agent_id="other", capabilities=["gpu"]),
        ]

    assert [each["task"] is None for each in claims] == [True, True, False, False]


async def test_a_task_carries_the_trace_of_its_caller_by_a_server_that_is_not_traced(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        with Recorded().tracer.start_as_current_span("caller") as caller:
            traced = await call(client, "enqueue_task", task_type="step")
        other = await call(client, "enqueue_task", task_type="step")
        await client.call_tool("enqueue_task", {"task_type": "step"}, meta={"traceparent": "nonsense"})  # type: ignore[arg-type]

    async with await SqliteStorage.open(tmp_path / "swarm.db") as storage:
        assert len(await storage.repository(TaskModel).find_all()) == 3
        assert len([task for task in await storage.repository(TaskModel).find_all() if task.trace_parent]) == 1
        found = {task.id: task.trace_parent for task in await storage.repository(TaskModel).find_all()}
    assert f"{caller.get_span_context().trace_id:032x}" in (found[traced["task_id"]] or "")
    assert found[other["task_id"]] is None
