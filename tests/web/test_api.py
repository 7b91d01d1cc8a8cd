"""The API: what programs in any language do with tasks, agents, events, messages, metrics and documents."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from swarm_persistence import DocumentModel, EventModel, MemoryStorage, Storage, TaskModel, TaskPriority
from web.servers import client_of

TASKS = "/api/v1/tasks"


@pytest.fixture
def storage() -> Storage:
    return MemoryStorage()


@pytest.fixture
async def client(storage: Storage) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(storage) as client:
        yield client


async def stored(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post(TASKS, json={"task_type": "t", **fields})
    assert answer.status_code == 201
    task: dict[str, Any] = answer.json()
    return task


async def claimed(client: httpx.AsyncClient) -> dict[str, Any]:
    task: dict[str, Any] = (await client.post(f"{TASKS}/claim", json={"agent_id": "js"})).raise_for_status().json()
    return task


def claim_of(task: dict[str, Any]) -> dict[str, Any]:
    return {"agent_id": task["assigned_to"], "claim_count": task["claim_count"]}


class TestTasks:
    async def test_a_task_is_stored_and_shown(self, client: httpx.AsyncClient, storage: Storage) -> None:
        task = await stored(client, payload={"page": 10**30}, priority="high", dependencies=["later"])

        answer = await client.get(f"{TASKS}/{task['id']}")

        assert (answer.json(), answer.headers["etag"][:3]) == (task, '"1-')
        kept = await storage.get_task(task["id"])
        assert kept is not None
        assert (kept.payload, kept.priority.value, kept.dependencies) == ({"page": 10**30}, "high", ["later"])

    @pytest.mark.parametrize("id", ["a/b", "a%2Fb", "100%", "ü ?#", "..."])
    async def test_any_id_has_an_address(self, client: httpx.AsyncClient, id: str) -> None:
        await stored(client, id=id)
        path = f"{TASKS}/{httpx.QueryParams({'x': id})}".replace("x=", "", 1).replace("+", "%20")
        assert (await client.get(path)).json()["id"] == id
        assert (await client.post(f"{path}/cancel")).json()["status"] == "cancelled"

    @pytest.mark.parametrize("id", ["blocked", "counts", "stream", "claim", ".", "..", "=x", "a/b", "100%"])
    async def test_after_an_equals_sign_an_id_is_no_name_of_a_route(self, client: httpx.AsyncClient, id: str) -> None:
        task = await stored(client, id=id)
        path = f"{TASKS}/={quote(id, safe='')}"

        assert (await client.get(path)).json() == task
        assert (await client.patch(path, json={"max_retries": 1})).json()["max_retries"] == 1
        assert (await client.get(f"{path}/dependencies")).json() == []
        held = await claimed(client)
        done = await client.post(f"{path}/complete", json=claim_of(held))
        assert (done.json()["id"], done.json()["status"]) == (id, "completed")

    async def test_an_id_that_begins_with_an_equals_sign_is_percent_encoded(self, client: httpx.AsyncClient) -> None:
        await stored(client, id="=x")
        assert (await client.get(f"{TASKS}/%3Dx")).json()["id"] == "=x"
        assert (await client.get(f"{TASKS}/=x")).status_code == 404

    async def test_a_claim_is_extended_and_completed(self, client: httpx.AsyncClient, storage: Storage) -> None:
        await stored(client)
        task = await claimed(client)
        path = f"{TASKS}/{task['id']}"

        extended = (
            await client.post(f"{path}/extend", json={**claim_of(task), "lease": 600, "is_running": True})
        ).json()
        done = await client.post(f"{path}/complete", json={**claim_of(task), "result": [1]})

        assert (extended["status"], extended["lease_expires_at"] > task["lease_expires_at"]) == ("running", True)
        assert (done.json()["status"], done.json()["result"]) == ("completed", [1])
        late = await client.post(f"{path}/complete", json=claim_of(task))
        assert (late.status_code, late.json()["type"]) == (409, "urn:swarm-persistence:LeaseLostError")
        assert "the task is completed" in late.json()["detail"]

    async def test_several_tasks_are_claimed_at_once(self, client: httpx.AsyncClient) -> None:
        ids = [(await stored(client))["id"] for _ in range(5)]
        path = f"{TASKS}/claim/batch"

        first = await client.post(path, json={"agent_id": "a", "limit": 2, "is_running": True})
        headers = {"Idempotency-Key": "rest"}
        rest = [await client.post(path, json={"agent_id": "a", "limit": 9}, headers=headers) for _ in range(2)]
        none = await client.post(path, json={"agent_id": "a", "limit": 9, "wait": 0.01})
        refused = [await client.post(path, json={"agent_id": "a", "limit": limit}) for limit in (0, 1001, "2", None)]

        assert [(task["id"], task["status"]) for task in first.json()] == [(id, "running") for id in ids[:2]]
        assert [task["id"] for task in rest[0].json()] == ids[2:]
        assert {task["status"] for task in rest[0].json()} == {"assigned"}
        assert rest[1].json() == rest[0].json()
        assert (none.status_code, none.json()) == (200, [])
        assert [answer.status_code for answer in refused] == [422] * 4

    async def test_a_failure_is_retried_or_final(self, client: httpx.AsyncClient) -> None:
        await stored(client)
        task = await claimed(client)
        path = f"{TASKS}/{task['id']}/fail"
        again = (await client.post(path, json={**claim_of(task), "error": "no", "retry_in": 0})).json()
        assert (again["status"], again["retry_count"], again["error"]) == ("pending", 1, "no")

        task = await claimed(client)
        final = (await client.post(path, json={**claim_of(task), "error": "no", "max_retries": 0})).json()
        assert final["status"] == "failed"

    async def test_operators_release_cancel_and_retry(self, client: httpx.AsyncClient) -> None:
        await stored(client)
        path = f"{TASKS}/{(await claimed(client))['id']}"

        assert (await client.post(f"{path}/release", json={})).json()["status"] == "pending"
        assert (await client.post(f"{path}/release", json={})).status_code == 409
        assert (await client.post(f"{path}/retry")).status_code == 409
        assert (await client.post(f"{path}/cancel")).json()["status"] == "cancelled"
        assert (await client.post(f"{path}/cancel")).status_code == 409
        assert (await client.post(f"{path}/retry")).json()["status"] == "pending"

    async def test_progress_is_reported_by_the_holder_only(self, client: httpx.AsyncClient) -> None:
        await stored(client)
        task = await claimed(client)
        path = f"{TASKS}/{task['id']}/progress"

        shown = (await client.post(path, json={**claim_of(task), "progress": 0.4, "text": "2 of 5"})).json()

        assert (shown["progress"], shown["progress_text"]) == (0.4, "2 of 5")
        refused = await client.post(path, json={**claim_of(task), "progress": 1.5})
        assert (refused.status_code, "progress is 1.5" in refused.json()["detail"]) == (422, True)
        assert (await client.post(path, json={"agent_id": "x", "claim_count": 1, "progress": 1})).status_code == 409

    async def test_a_person_approves_and_rejects(self, client: httpx.AsyncClient) -> None:
        await stored(client, id="first", task_type="approval")
        await stored(client, id="second", task_type="approval", dependencies=["first"])
        decision = {"by": "alice", "comment": "fine"}

        early = await client.post(f"{TASKS}/second/approve", json=decision)
        approved = (await client.post(f"{TASKS}/first/approve", json=decision)).json()
        again = await client.post(f"{TASKS}/first/reject", json=decision)
        rejected = (await client.post(f"{TASKS}/second/reject", json={"by": "bob"})).json()

        assert (early.status_code, again.status_code) == (409, 409)
        assert (approved["status"], approved["result"]) == ("completed", {"approved": True, **decision})
        assert (rejected["status"], rejected["error"]) == ("failed", "rejected by bob")
        assert (await client.post(f"{TASKS}/none/approve", json=decision)).status_code == 404

    async def test_one_task_is_claimed_by_one(self, client: httpx.AsyncClient) -> None:
        task = await stored(client)
        claims = [client.post(f"{TASKS}/{task['id']}/claim", json={"agent_id": f"a{n}"}) for n in range(8)]
        codes = [answer.status_code for answer in await asyncio.gather(*claims)]
        assert sorted(codes) == [200] + [409] * 7

    async def test_by_ageing_a_task_that_has_waited_goes_first(
        self, client: httpx.AsyncClient, storage: Storage
    ) -> None:
        yesterday = datetime.now(UTC) - timedelta(days=1)
        await storage.store_task(TaskModel(id="old", task_type="t", priority=TaskPriority.LOW, created_at=yesterday))
        await stored(client, priority="high")

        answer = await client.post(f"{TASKS}/claim", json={"agent_id": "a", "ageing": 60})

        assert answer.json()["id"] == "old"
        assert (await client.post(f"{TASKS}/claim", json={"agent_id": "a", "ageing": 0})).status_code == 422

    async def test_no_ready_task_is_no_content(self, client: httpx.AsyncClient) -> None:
        answer = await client.post(f"{TASKS}/claim", json={"agent_id": "a"})
        assert (answer.status_code, answer.content) == (204, b"")

    @pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
    async def test_a_claim_waits_for_a_task(
        self, client: httpx.AsyncClient, storage: Storage, headers: dict[str, str]
    ) -> None:
        waiting = asyncio.create_task(
            client.post(f"{TASKS}/claim", json={"agent_id": "a", "wait": 30, "task_types": ["t"]}, headers=headers)
        )
        await asyncio.sleep(0.05)
        await storage.store_task(TaskModel.new("other", None))
        task = await storage.store_task(TaskModel.new("t", None))

        assert (await waiting).json()["id"] == task.id

    async def test_what_a_dead_worker_held_comes_back(self, client: httpx.AsyncClient, storage: Storage) -> None:
        await stored(client)
        await client.post(f"{TASKS}/claim", json={"agent_id": "dead", "lease": 0.001})
        await asyncio.sleep(0.01)
        assert (await claimed(client))["claim_count"] == 2

    async def test_a_caller_waits_for_the_end_of_a_task(self, client: httpx.AsyncClient, storage: Storage) -> None:
        task = await stored(client)
        early = (await client.get(f"{TASKS}/{task['id']}?wait=0.01")).json()
        waiting = asyncio.create_task(client.get(f"{TASKS}/{task['id']}?wait=30"))
        await asyncio.sleep(0.05)
        await storage.cancel_task(task["id"])

        assert (early["status"], (await waiting).json()["status"]) == ("pending", "cancelled")

    async def test_a_blocked_task_tells_what_blocks_it(self, client: httpx.AsyncClient) -> None:
        task = await stored(client, dependencies=["missing"])
        (unmet,) = (await client.get(f"{TASKS}/{task['id']}/dependencies")).json()
        assert (unmet["id"], unmet["status"]) == ("missing", None)

    async def test_a_change_of_another_version_is_refused(self, client: httpx.AsyncClient) -> None:
        task = await stored(client)
        path = f"{TASKS}/{task['id']}"

        first = await client.patch(path, json={"priority": "critical"}, headers={"If-Match": '"1"'})
        second = await client.patch(path, json={"priority": "low"}, headers={"If-Match": '"1"'})
        third = await client.patch(path, json={"payload": None}, headers={"If-Match": first.headers["etag"]})

        assert (first.json()["priority"], first.json()["version"]) == ("critical", 2)
        assert (second.status_code, "has version 2" in second.json()["detail"]) == (412, True)
        assert (third.status_code, third.json()["priority"]) == (200, "critical")


class TestRepetition:
    async def test_a_repeated_request_has_the_same_answer(self, client: httpx.AsyncClient, storage: Storage) -> None:
        headers = {"Idempotency-Key": "one"}
        body = {"task_type": "t"}
        answers = await asyncio.gather(*(client.post(TASKS, json=body, headers=headers) for _ in range(5)))

        assert {(each.status_code, each.text, each.headers["etag"]) for each in answers} == {
            (201, answers[0].text, answers[0].headers["etag"])
        }
        assert await storage.repository(TaskModel).count() == 1
        assert sum("idempotency-replayed" in each.headers for each in answers) == 4

    async def test_a_claim_whose_answer_was_lost_is_given_again(self, client: httpx.AsyncClient) -> None:
        await stored(client)
        await stored(client)
        claim = {"json": {"agent_id": "a"}, "headers": {"Idempotency-Key": "claim 1"}}
        first = await client.post(f"{TASKS}/claim", **claim)  # type: ignore[arg-type]
        again = await client.post(f"{TASKS}/claim", **claim)  # type: ignore[arg-type]
        assert first.json() == again.json()

    async def test_a_completion_that_is_repeated_is_no_lost_lease(self, client: httpx.AsyncClient) -> None:
        await stored(client)
        task = await claimed(client)
        for _ in range(2):
            answer = await client.post(
                f"{TASKS}/{task['id']}/complete", json=claim_of(task), headers={"Idempotency-Key": "done"}
            )
            assert answer.json()["status"] == "completed"

    async def test_a_key_of_another_request_is_refused(self, client: httpx.AsyncClient) -> None:
        headers = {"Idempotency-Key": "one"}
        await client.post(TASKS, json={"task_type": "t"}, headers=headers)
        answer = await client.post(TASKS, json={"task_type": "other"}, headers=headers)
        assert (answer.status_code, "another request" in answer.json()["detail"]) == (422, True)

    async def test_what_has_failed_can_be_tried_again(self, client: httpx.AsyncClient) -> None:
        headers = {"Idempotency-Key": "one"}
        path = f"{TASKS}/later/cancel"
        assert (await client.post(path, headers=headers)).status_code == 404
        await stored(client, id="later")
        assert (await client.post(path, headers=headers)).json()["status"] == "cancelled"

    async def test_the_key_of_a_task_itself_is_one_as_well(self, client: httpx.AsyncClient) -> None:
        first = await client.post(TASKS, json={"task_type": "t", "idempotency_key": "k"})
        again = await client.post(TASKS, json={"task_type": "t", "idempotency_key": "k"})
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json()["id"] == again.json()["id"]


class TestOtherNouns:
    async def test_agents(self, client: httpx.AsyncClient) -> None:
        body = {"name": "w", "agent_type": "js", "capabilities": ["t"], "metadata": {"os": "linux"}}
        agent = (await client.post("/api/v1/agents", json=body)).json()
        path = f"/api/v1/agents/{agent['id']}"

        assert (await client.patch(path, json={"status": "busy"})).json()["status"] == "busy"
        beaten = (await client.post(f"{path}/heartbeat")).json()
        assert beaten["heartbeat"] > agent["heartbeat"]
        assert (await client.delete(path, headers={"If-Match": '"1"'})).status_code == 412
        assert (await client.delete(path)).status_code == 204
        assert (await client.get(path)).status_code == 404
        assert (await client.post(f"{path}/heartbeat")).status_code == 404

    async def test_events_are_appended_and_read(self, client: httpx.AsyncClient) -> None:
        one = (await client.post("/api/v1/events", json={"event_type": "a", "data": 1})).json()
        body: dict[str, Any] = {"events": [{"event_type": "b"}, {"event_type": "a"}]}
        end = (await client.post("/api/v1/events/batch", json={**body, "expected_sequence": one["sequence"]})).json()
        late = await client.post("/api/v1/events/batch", json={**body, "expected_sequence": one["sequence"]})

        log = (await client.get("/api/v1/events/log", params={"after": one["sequence"]})).json()

        assert [each["event_type"] for each in log] == ["b", "a"]
        assert log[-1]["sequence"] == end["sequence"]
        assert late.status_code == 409
        assert len((await client.get("/api/v1/events/log?event_type=a&limit=1")).json()) == 1

    async def test_messages(self, client: httpx.AsyncClient) -> None:
        body = {"from_agent": "a", "to_agent": "b", "message_type": "text", "content": "hello"}
        message = (await client.post("/api/v1/messages", json=body)).json()
        path = f"/api/v1/messages/{message['id']}"

        assert (await client.post(f"{path}/read")).json()["read"] is True
        assert (await client.post(f"{path}/acknowledge", json={"result": "ok"})).json()["result"] == "ok"
        between = await client.get("/api/v1/messages/between?agent=b&agent=a")
        assert [each["id"] for each in between.json()] == [message["id"]]
        assert (await client.get("/api/v1/messages/between?agent=b")).status_code == 422

    async def test_metrics_and_their_aggregates(self, client: httpx.AsyncClient) -> None:
        for value in (1, 3):
            body = {"metric_type": "load", "value": value, "unit": "%", "timestamp": f"2026-01-01T00:0{value}:00Z"}
            assert (await client.post("/api/v1/metrics", json=body)).status_code == 201
        query = "metric_type=load&start=2026-01-01T00:00:00Z&end=2026-01-02T00:00:00Z&function=avg&group_by=unit"

        (whole,) = (await client.get(f"/api/v1/metrics/aggregates?{query}")).json()
        buckets = (await client.get(f"/api/v1/metrics/aggregates?{query}&bucket=60")).json()

        assert whole == {"bucket": None, "group": {"unit": "%"}, "values": {"avg": 2.0}}
        assert [each["bucket"] for each in buckets] == ["2026-01-01T00:01:00Z", "2026-01-01T00:03:00Z"]
        assert (await client.get(f"/api/v1/metrics/aggregates?{query}&bucket=0")).status_code == 422
        for start in ("253402300800", "1e400", "nan", "yesterday"):
            late = f"/api/v1/metrics/aggregates?metric_type=t&start={start}&end=2026-01-01T00:00:00Z"
            refused = await client.get(late)
            assert refused.status_code == 422
            assert f"start is '{start}'" in refused.json()["detail"]

    async def test_schedules(self, client: httpx.AsyncClient) -> None:
        body = {"name": "nightly", "task_type": "report", "every": 3600, "payload": {"x": 1}}
        schedule = (await client.post("/api/v1/schedules", json=body)).raise_for_status().json()
        path = "/api/v1/schedules/nightly"

        assert schedule["next_at"] is not None
        assert (await client.post(f"{path}/pause")).json()["paused"] is True
        assert (await client.post(f"{path}/resume")).json()["paused"] is False
        assert [each["name"] for each in (await client.get("/api/v1/schedules?every=3600")).json()["items"]] == [
            "nightly"
        ]
        refused = await client.post("/api/v1/schedules", json={"name": "n", "task_type": "t", "cron": "never"})
        assert (refused.status_code, "cron" in refused.json()["detail"]) == (422, True)
        assert (await client.delete(path)).status_code == 204
        assert (await client.post(f"{path}/pause")).status_code == 404

    async def test_a_limit_holds_for_claims_until_it_is_deleted(self, client: httpx.AsyncClient) -> None:
        for _ in range(2):
            await stored(client, task_type="a/b")
        path, body = "/api/v1/limits/a%2Fb", {"running": 1, "starts": 9, "per": 60}

        limit = (await client.put(path, json=body)).raise_for_status().json()

        assert limit == {"id": "a/b", "running": 1, "per_key": None, "starts": 9, "per_seconds": 60.0}
        assert (await client.get("/api/v1/limits")).json() == [limit]
        assert (await client.get(path)).json() == limit
        codes = [(await client.post(f"{TASKS}/claim", json={"agent_id": "a"})).status_code for _ in range(2)]
        assert codes == [200, 204]
        refused = await client.put(path, json={"running": -1})
        assert (refused.status_code, "running is -1" in refused.json()["detail"]) == (422, True)
        assert [(await client.delete(path)).status_code, (await client.get(path)).status_code] == [204, 404]
        await claimed(client)

    async def test_a_group_is_erased_after_its_name_is_confirmed(
        self, client: httpx.AsyncClient, storage: Storage
    ) -> None:
        for name in ("alice", "bob"):
            await stored(client, id=name, group=name)
            await storage.put_documents([DocumentModel.new(("memories", name), "k", name)])
        path, collections = "/api/v1/groups/alice/erase", [["memories", "alice"]]

        refused = [await client.post(path, json=body) for body in ({}, {"confirm": "bob", "collections": collections})]
        assert [answer.status_code for answer in refused] == [422, 422]
        assert await storage.get_task("alice") is not None
        body = {"confirm": "alice", "collections": collections}
        counted = (await client.post(path, json={**body, "dry_run": True})).json()
        erased = (await client.post(path, json=body)).json()

        assert counted == erased
        assert {kind: number for kind, number in erased.items() if number} == {"tasks": 1, "documents": 1}
        assert [await storage.get_task(id) is None for id in ("alice", "bob")] == [True, False]
        assert [each.value for each in await storage.list_documents(("memories",), below=True)] == ["bob"]

    async def test_old_records_are_counted_and_pruned_on_demand_only(
        self, client: httpx.AsyncClient, storage: Storage
    ) -> None:
        await stored(client, id="waits")
        await stored(client, id="gone")
        await client.post(f"{TASKS}/gone/cancel")
        await storage.store_event(EventModel.new("happened", 1))

        async def pruned(**fields: Any) -> Any:
            answer = await client.post("/api/v1/prune", json={"older_than": 0, **fields})
            return {kind: number for kind, number in answer.json().items() if number}

        invalid: list[dict[str, Any]] = [{}, {"older_than": 1, "dry_run": "perhaps"}]
        refused = [await client.post("/api/v1/prune", json=body) for body in invalid]
        assert [answer.status_code for answer in refused] == [422, 422]
        assert await pruned() == {"tasks": 1, "events": 1}
        assert await pruned(task_statuses=["failed"]) == {"events": 1}
        assert await storage.get_task("gone") is not None
        assert await pruned(events=False, dry_run=False) == {"tasks": 1}
        assert await pruned() == {"events": 1}
        assert [await storage.get_task(id) is None for id in ("waits", "gone")] == [False, True]

    async def test_blocked_tasks_come_with_what_each_waits_for(
        self, client: httpx.AsyncClient, storage: Storage
    ) -> None:
        first = await stored(client, id="first")
        await stored(client, id="low", dependencies=["first", "later"], priority="low")
        long_ago = datetime(2026, 1, 1, tzinfo=UTC)
        await storage.store_task(TaskModel(id="old", task_type="t", dependencies=["tpyo"], created_at=long_ago))

        found = (await client.get(f"{TASKS}/blocked")).json()
        limited = (await client.get(f"{TASKS}/blocked?limit=1")).json()
        refused = await client.get(f"{TASKS}/blocked?limit=0")

        assert [each["task"]["id"] for each in found] == ["old", "low"]
        assert found[0]["unmet_dependencies"] == [{"id": "tpyo", "status": None, "is_missing": True}]
        assert found[1]["unmet_dependencies"] == [
            {"id": first["id"], "status": "pending", "is_missing": False},
            {"id": "later", "status": None, "is_missing": False},
        ]
        assert limited == found[:1]
        assert refused.status_code == 422
        dependencies = [(await client.get(f"{TASKS}/{id}/dependencies")) for id in ("low", "first", "none")]
        assert [answer.status_code for answer in dependencies] == [200, 200, 404]
        assert dependencies[0].json() == found[1]["unmet_dependencies"]
        assert dependencies[1].json() == []

    async def test_what_matches_filters_is_counted_and_then_deleted(
        self, client: httpx.AsyncClient, storage: Storage
    ) -> None:
        for id, tags in (("1", {"run": "7"}), ("2", {"run": "7"}), ("3", {"run": "8"})):
            await stored(client, id=id, tags=tags)
        await stored(client, id="dependent", dependencies=["1"])
        query: dict[str, Any] = {"tags.run": "7", "status": ["pending", "completed"]}

        shown = [(await client.delete(TASKS, params=query | extra)).json() for extra in ({}, {"dry_run": "true"})]
        assert shown == [{"count": 2, "dry_run": True}] * 2
        assert await storage.repository(TaskModel).count() == 4
        assert {each["id"] for each in (await client.get(TASKS, params=query)).json()["items"]} == {"1", "2"}
        deleted = (await client.delete(TASKS, params=query | {"dry_run": "false"})).json()

        assert deleted == {"count": 2, "dry_run": False}
        left = {task.id: task.status.value for task in await storage.repository(TaskModel).find_all()}
        assert left == {"3": "pending", "dependent": "failed"}

    @pytest.mark.parametrize("noun", ["agents", "tasks", "events", "messages", "metrics", "documents", "schedules"])
    async def test_no_record_is_deleted_without_a_filter(
        self, client: httpx.AsyncClient, storage: Storage, noun: str
    ) -> None:
        await stored(client)

        for path in (f"/api/v1/{noun}", f"/api/v1/{noun}/"):
            for query in ("", "?cascade=1", "?limit=1", "?id.is=1"):
                refused = await client.delete(f"{path}{query}{'&' if query else '?'}dry_run=false")
                assert refused.status_code == 422, refused.text
        counted = await client.delete(f"/api/v1/{noun}?id.null=false")

        assert counted.json() == {"count": int(noun == "tasks"), "dry_run": True}
        assert await storage.repository(TaskModel).count() == 1

    async def test_documents_are_found_by_their_words(self, client: httpx.AsyncClient) -> None:
        for name, text in (("x", "the quick fox"), ("y", "a quick, quick hare"), ("z", "the slow fox")):
            path = f"/api/v1/documents/item?collection=notes&collection={name}&key=k"
            (await client.put(path, json={"value": {"text": text}})).raise_for_status()
        path = "/api/v1/documents/search"

        found = (await client.get(f"{path}?words=QUICK&collection=notes")).json()

        assert [each["document"]["collection"][1] for each in found] == ["y", "x"]
        assert found[0]["score"] > found[1]["score"]
        (only,) = (await client.get(f"{path}?words=quick&collection=notes&collection=x&below=false")).json()
        assert only["document"]["value"] == {"text": "the quick fox"}
        assert len((await client.get(f"{path}?words=fox&limit=1")).json()) == 1
        assert (await client.get(path)).status_code == 422

    async def test_the_nearest_documents_are_found_also_where_nothing_may_change(
        self, client: httpx.AsyncClient, storage: Storage
    ) -> None:
        for name, embedding in (("x", [1, 0]), ("y", [0.6, 0.8]), ("z", [0, 1])):
            path = f"/api/v1/documents/item?collection=notes&collection={name}&key=k"
            (await client.put(path, json={"embedding": embedding})).raise_for_status()
        path = "/api/v1/documents/nearest"

        (only,) = (await client.post(path, json={"embedding": [1, 0], "collection": ["notes", "z"]})).json()
        wrong = [
            await client.post(path, json=body)
            for body in ({}, {"embedding": [1]}, {"embedding": [1, 0], "metric": "?"}, {"embedding": [0, 0]})
        ]
        async with client_of(storage, read_only=True) as reader:
            found = (await reader.post(path, json={"embedding": [1, 0.1], "limit": 2})).json()
            refused = (await reader.post("/api/v1/tasks", json={"task_type": "t"})).status_code

        assert [each["document"]["collection"][1] for each in found] == ["x", "y"]
        assert found[0]["score"] > found[1]["score"] > only["score"] == 0
        assert refused == 403
        assert [answer.status_code for answer in wrong] == [422] * 4

    async def test_documents(self, client: httpx.AsyncClient) -> None:
        path = "/api/v1/documents/item?collection=notes&collection=mine&key=a%20b"

        new = await client.put(path, json={"value": {"x": 1}, "data": "aGk="}, headers={"If-None-Match": "*"})
        again = await client.put(path, json={"value": 2}, headers={"If-None-Match": "*"})
        changed = await client.put(path, json={"value": 2}, headers={"If-Match": new.headers["etag"]})
        stale = await client.put(path, json={"value": 3}, headers={"If-Match": new.headers["etag"]})

        assert [new.status_code, again.status_code, changed.status_code, stale.status_code] == [200, 412, 200, 412]
        shown = (await client.get(path)).json()
        assert (shown["collection"], shown["value"], shown["data"]) == (["notes", "mine"], 2, None)
        assert (await client.delete(path, headers={"If-Match": '"1"'})).status_code == 412
        assert (await client.delete(path)).status_code == 204
        assert (await client.get(path)).status_code == 404


class TestProblems:
    @pytest.mark.parametrize(
        ("method", "path", "body", "code", "reason"),
        [
            ("GET", f"{TASKS}/none", None, 404, "Not found: task 'none'"),
            ("GET", "/api/v1/nothing", None, 404, "There is nothing at /api/v1/nothing."),
            ("POST", f"{TASKS}/none/complete", {"agent_id": "a", "claim_count": 1}, 404, "Not found: task 'none'"),
            ("POST", TASKS, {"task_type": 7}, 422, "task_type"),
            ("POST", TASKS, {}, 422, "task_type"),
            ("POST", TASKS, {"task_type": "t", "status": "completed"}, 422, "status"),
            ("POST", TASKS, {"task_type": "a\0b"}, 422, "task.task_type is 'a\\x00b'"),
            ("POST", TASKS, {"task_type": "t", "id": "x", "dependencies": ["x"]}, 422, "Dependency cycle"),
            ("POST", f"{TASKS}/claim", {"agent_id": "a", "lease": -1}, 422, "lease"),
            ("POST", f"{TASKS}/claim", {"agent_id": "a", "wait": 1e9}, 422, "wait is"),
            ("POST", f"{TASKS}/claim", {"agent_id": ""}, 422, "assigned_to"),
            ("PATCH", TASKS, {}, 405, "PATCH is not possible"),
            ("GET", f"{TASKS}/stream?after=x", None, 422, "cursor of watch_tasks"),
            ("GET", "/api/v1/events/stream?after=x", None, 422, "after is 'x'"),
        ],
    )
    async def test_each_keeps_the_message_of_the_library(  # noqa: PLR0917
        self, client: httpx.AsyncClient, method: str, path: str, body: Any, code: int, reason: str
    ) -> None:
        answer = await client.request(method, path, json=body)

        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.status_code == answer.json()["status"] == code
        assert reason in answer.json()["detail"]

    async def test_what_is_no_json_is_a_bad_request(self, client: httpx.AsyncClient) -> None:
        deep = b'{"task_type": "t", "payload": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        for body in (b"{", b"", b"\xff", b'{"task_type": "\xff"}', deep):
            answer = await client.post(TASKS, content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code in (400, 422), body
            assert answer.json()["detail"]

    @pytest.mark.parametrize(
        ("headers", "body", "code", "reason"),
        [
            ({"Content-Type": "application/json"}, b"", 422, "The request has no body."),
            ({"Content-Type": "application/x-www-form-urlencoded"}, b'{"task_type": "t"}', 415, "application/json"),
            ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, b"\x1f\x8b", 415, "'gzip'"),
        ],
    )
    async def test_a_body_that_is_none_or_of_another_kind_is_told_so(
        self, client: httpx.AsyncClient, headers: dict[str, str], body: bytes, code: int, reason: str
    ) -> None:
        answer = await client.post(TASKS, content=body, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (code, "application/problem+json")
        assert reason in answer.json()["detail"]

    async def test_a_known_id_is_a_conflict(self, client: httpx.AsyncClient) -> None:
        await stored(client, id="x")
        answer = await client.post(TASKS, json={"task_type": "t", "id": "x"})
        assert (answer.status_code, answer.json()["detail"].startswith("Conflict: ")) == (409, True)

    async def test_a_storage_that_is_closed_is_unavailable(self, client: httpx.AsyncClient, storage: Storage) -> None:
        await storage.close()
        answer = await client.get(TASKS)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
