"""The API: what programs in any language do with tasks, agents, events, messages, metrics and documents."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from swarm_persistence import Storage, TaskModel, TaskPriority
from swarm_persistence.engines.interface import Watch
from swarm_persistence.schema.tables import Table
from swarm_persistence.testing import ManualClock

TASKS = "/api/v1/tasks"


async def stored(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post(TASKS, json={"task_type": "t", **fields})
    assert answer.status_code == 201
    task: dict[str, Any] = answer.json()
    return task


async def claimed(client: httpx.AsyncClient) -> dict[str, Any]:
    task: dict[str, Any] = (await client.post(f"{TASKS}/claim", json={"agent_id": "js"})).raise_for_status().json()
    return task


@pytest.fixture
def a_wait(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Return what is set once a call watches for commits."""
    begun, watch = asyncio.Event(), storage._engine.watch

    def watch_and_tell(tables: tuple[Table[Any], ...]) -> Watch:
        begun.set()
        return watch(tables)

    monkeypatch.setattr(storage._engine, "watch", watch_and_tell)
    return begun


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
        self, client: httpx.AsyncClient, storage: Storage, a_wait: asyncio.Event, headers: dict[str, str]
    ) -> None:
        waiting = asyncio.create_task(
            client.post(f"{TASKS}/claim", json={"agent_id": "a", "wait": 30, "task_types": ["t"]}, headers=headers)
        )
        await a_wait.wait()
        await storage.store_task(TaskModel.new("other", None))
        task = await storage.store_task(TaskModel.new("t", None))

        assert (await waiting).json()["id"] == task.id

    async def test_what_a_dead_worker_held_comes_back(self, client: httpx.AsyncClient, clock: ManualClock) -> None:
        await stored(client)
        await client.post(f"{TASKS}/claim", json={"agent_id": "dead", "lease": 30})
        clock.advance(30)
        assert (await claimed(client))["claim_count"] == 2

    async def test_a_caller_waits_for_the_end_of_a_task(
        self, client: httpx.AsyncClient, storage: Storage, a_wait: asyncio.Event
    ) -> None:
        task = await stored(client)
        early = (await client.get(f"{TASKS}/{task['id']}?wait=0.01")).json()
        a_wait.clear()
        waiting = asyncio.create_task(client.get(f"{TASKS}/{task['id']}?wait=30"))
        await a_wait.wait()
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
        assert first.json()["updated_at"] > task["updated_at"]
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

    async def test_a_claim_that_has_found_nothing_tries_again(self, client: httpx.AsyncClient) -> None:
        body, headers = {"agent_id": "a", "limit": 1}, {"Idempotency-Key": "claim 1"}
        nothing = await client.post(f"{TASKS}/claim/batch", json=body, headers=headers)
        task = await stored(client)
        found, again = [await client.post(f"{TASKS}/claim/batch", json=body, headers=headers) for _ in range(2)]
        assert nothing.json() == []
        assert [each["id"] for each in found.json()] == [task["id"]]
        assert again.text == found.text

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

    async def test_a_request_that_can_be_repeated_is_logged_in_one_line(
        self, client: httpx.AsyncClient, storage: Storage, caplog: pytest.LogCaptureFixture
    ) -> None:
        await storage.close()
        await client.get(TASKS)
        assert [line.split(": ")[0][-16:] for line in caplog.text.splitlines()] == ["a request failed"]
