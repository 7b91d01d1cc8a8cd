"""The API of agents, events, messages, metrics, schedules, limits and documents, and of what concerns all records."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from swarm_persistence import DocumentModel, EventModel, Storage, TaskModel
from web.servers import client_of
from web.test_api import TASKS, claimed, stored


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
