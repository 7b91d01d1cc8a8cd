"""The pages of approvals, schedules and limits: what they show, and what their forms change."""

from datetime import timedelta
from html import unescape

import httpx
import pytest

from swarm_persistence import AgentModel, ScheduleModel, Storage, TaskModel, TaskStatus
from swarm_persistence.clock import now
from swarm_persistence.worker.registration import INCARNATION, TASK_TYPES
from swarm_persistence_conformance.records import status_of
from web.page.forms import AS_PAGE, form_of, send
from web.servers import client_of


class TestApprovals:
    @pytest.fixture
    async def tasks(self, storage: Storage) -> None:
        """Store a task to decide, one that waits for it, those that are none, and a live worker that handles these."""
        metadata = {INCARNATION: "1", TASK_TYPES: ["handled"]}
        await storage.store_agent(AgentModel(id="worker", name="worker", agent_type="worker", metadata=metadata))
        await storage.store_tasks(
            [
                TaskModel(id="ask", task_type="approval", payload={"what": "publish"}),
                TaskModel(id="publish", task_type="handled", dependencies=["ask"]),
                TaskModel(id="ask-later", task_type="approval", dependencies=["publish"]),
                TaskModel(id="work", task_type="handled"),
            ]
        )

    async def test_only_ready_tasks_that_no_live_worker_handles_are_listed(
        self, client: httpx.AsyncClient, tasks: None
    ) -> None:
        text = unescape((await client.get("/approvals")).text)

        assert 'data-key="ask"' in text
        assert '"what": "publish"' in text
        assert 'href="/tasks/publish">handled</a>' in text
        assert 'data-key="work"' not in text
        assert 'data-key="ask-later"' not in text
        assert "1 to decide" in (await client.get("/")).text
        assert "Waits for a decision" in (await client.get("/tasks/ask")).text
        for other in ("work", "ask-later"):
            assert "Waits for a decision" not in (await client.get(f"/tasks/{other}")).text

    async def test_a_task_is_approved_by_name(self, client: httpx.AsyncClient, storage: Storage, tasks: None) -> None:
        answer = await send(client, "/tasks/ask/approve", by="alice", comment="fine")

        assert (answer.status_code, answer.headers["location"]) == (303, "/tasks/ask?done=approve")
        task = await storage.get_task("ask")
        assert task is not None
        assert task.result == {"approved": True, "by": "alice", "comment": "fine"}
        assert "The task was approved." in (await client.get(answer.headers["location"])).text

    async def test_a_task_is_rejected_after_a_confirmation(
        self, client: httpx.AsyncClient, storage: Storage, tasks: None
    ) -> None:
        asked = await send(client, "/tasks/ask/reject", by="bob", comment="no", confirmed="")
        assert 'name="by" value="bob"' in asked.text
        assert await status_of(storage, "ask") is TaskStatus.PENDING

        await send(client, "/tasks/ask/reject", by="bob", comment="no")

        assert await status_of(storage, "ask") is TaskStatus.FAILED
        assert await status_of(storage, "publish") is TaskStatus.FAILED

    async def test_a_decision_needs_a_name_and_a_task_that_waits(
        self, client: httpx.AsyncClient, storage: Storage, tasks: None
    ) -> None:
        nameless = await send(client, "/tasks/ask/approve", by=" ")
        early = await send(client, "/tasks/ask-later/approve", by="alice")

        assert (nameless.status_code, early.status_code) == (409, 409)
        assert "expected the name of the person" in nameless.text
        assert "waits for its dependencies" in early.text
        assert await status_of(storage, "ask") is TaskStatus.PENDING


class TestSchedules:
    @pytest.fixture
    async def schedule(self, storage: Storage) -> ScheduleModel:
        """Store a schedule that has fired once."""
        starts_at = now() - timedelta(seconds=30)
        schedule = ScheduleModel.new("a b/c", "handled", {"n": 1}, every=3600, starts_at=starts_at)
        schedule.next_at = starts_at
        await storage.store_schedule(schedule)
        assert len(await storage.fire_due_schedules()) == 1
        stored = await storage.get_schedule("a b/c")
        assert stored is not None
        return stored

    async def test_the_next_times_and_the_latest_task_are_shown(
        self, client: httpx.AsyncClient, schedule: ScheduleModel
    ) -> None:
        assert schedule.next_at is not None
        listed = (await client.get("/schedules")).text
        shown = (await client.get("/schedules/a%20b%2Fc")).text

        for text in (listed, shown):
            assert "every 1 h" in text
            assert f'datetime="{schedule.next_at.isoformat()}"' in text
            assert f'datetime="{(schedule.next_at + timedelta(hours=1)).isoformat()}"' in text
            assert f'href="/tasks/{schedule.last_task_id}"' in text
        assert f'<tr data-key="{schedule.last_task_id}">' in shown
        assert 'href="/schedules/a%20b%2Fc"' in (await client.get("/")).text

    async def test_a_schedule_is_paused_resumed_and_deleted(
        self, client: httpx.AsyncClient, storage: Storage, schedule: ScheduleModel
    ) -> None:
        here = "/schedules/a%20b%2Fc"
        asked = await send(client, f"{here}/pause", confirmed="")
        assert "Pause this schedule?" in asked.text
        for action, is_paused in (("pause", True), ("resume", False)):
            answer = await send(client, f"{here}/{action}")
            assert (answer.status_code, answer.headers["location"]) == (303, f"{here}?done={action}")
            stored = await storage.get_schedule("a b/c")
            assert stored is not None
            assert stored.paused is is_paused

        assert (await send(client, f"{here}/delete")).headers["location"] == "/schedules?done=delete"
        assert await storage.get_schedule("a b/c") is None
        assert (await client.get(here)).status_code == 404
        assert (await send(client, f"{here}/pause")).status_code == 404
        assert (await send(client, f"{here}/fire")).status_code == 404

    async def test_one_is_stored_by_the_form_and_comes_back_equal_from_it(
        self, client: httpx.AsyncClient, storage: Storage
    ) -> None:
        given = {
            "name": "a b/c", "task_type": "report", "cron": "30 2 * * *", "every": "", "timezone": "Europe/Berlin",
            "starts_at": "2030-01-01T00:00:00Z", "catch_up": "all", "priority": "high", "max_retries": "7",
            "payload": '{"text": "<b>\u00e4</b>", "n": [1, 2.5, null]}',
            "task_fields": '{"group": "g", "tags": {"t": "1"}}',
        }  # fmt: skip
        asked = await send(client, "/forms/schedule/set", **{**given, "confirmed": ""})
        assert "Store this schedule?" in asked.text
        assert await storage.list_schedules() == []

        answer = await send(client, "/forms/schedule/set", **given)
        assert (answer.status_code, answer.headers["location"]) == (303, "/schedules/a%20b%2Fc?done=set")
        stored = await storage.get_schedule("a b/c")
        assert stored is not None
        assert (stored.payload, stored.max_retries) == ({"text": "<b>\u00e4</b>", "n": [1, 2.5, None]}, 7)
        assert stored.task_fields == {"group": "g", "tags": {"t": "1"}}

        form = (await client.get("/forms/schedule?name=a+b%2Fc")).text
        await storage.pause_schedule("a b/c")
        again = await send(client, "/forms/schedule/set", **{**form_of(form), "max_retries": "8"})
        assert again.status_code == 303
        changed = await storage.get_schedule("a b/c")
        assert changed is not None
        assert (changed.max_retries, changed.paused) == (8, True)
        for field in ("payload", "task_fields", "cron", "every", "timezone", "starts_at", "catch_up", "priority"):
            assert getattr(changed, field) == getattr(stored, field), field

    @pytest.mark.parametrize(
        ("fields", "told"),
        [
            ({"name": "", "every": "60"}, "name"),
            ({}, "exactly one of the two"),
            ({"every": "60", "cron": "* * * * *"}, "exactly one of the two"),
            ({"every": "soon"}, "every is 'soon'"),
            ({"cron": "at noon"}, "cron"),
            ({"every": "60", "timezone": "Mars/Olympus"}, "Mars/Olympus"),
            ({"every": "60", "starts_at": "tomorrow"}, "starts_at is 'tomorrow'"),
            ({"every": "60", "max_retries": "-1"}, "max_retries"),
            ({"every": "60", "priority": "extreme"}, "extreme"),
            ({"every": "60", "catch_up": "some"}, "some"),
            ({"every": "60", "payload": "{"}, "payload is '{', expected JSON"),
            ({"every": "60", "task_fields": "[]"}, "task_fields"),
            ({"every": "60", "task_fields": '{"status": "failed"}'}, "status"),
        ],
    )
    async def test_a_refused_field_is_explained_beside_what_was_typed(
        self, client: httpx.AsyncClient, storage: Storage, fields: dict[str, str], told: str
    ) -> None:
        answer = await send(client, "/forms/schedule/set", **{"name": "s", "task_type": "typed", **fields})

        assert answer.status_code == 422
        assert told in unescape(answer.text).partition('role="alert">')[2].partition("</p>")[0]
        assert 'value="typed"' in answer.text
        assert await storage.list_schedules() == []

    async def test_the_form_of_an_unknown_schedule_is_not_found(self, client: httpx.AsyncClient) -> None:
        assert (await client.get("/forms/schedule?name=nothing")).status_code == 404


class TestLimits:
    async def test_each_says_how_full_it_is_and_what_waits(self, client: httpx.AsyncClient, storage: Storage) -> None:
        keys = ("acme", "acme", "acme", "initech", None)
        await storage.store_tasks(
            [TaskModel(id=f"{n}", task_type="handled", concurrency_key=key) for n, key in enumerate(keys)]
        )
        await storage.set_limit("handled", running=3, per_key=2, starts=3, per=60)
        for _ in range(4):
            await storage.claim_next_task("worker", lease=300)

        text = (await client.get("/limits")).text

        assert "Claimed at once: 3 of 3" in text
        assert "Claimed within 1 min: 3 of 3" in text
        assert "Claimed of acme: 2 of 2" in text
        assert "Claimed of initech: 1 of 2" in text
        assert "<strong>2</strong> pending" in text
        assert "the next <time" in text
        assert "concurrency_key=acme" in text

    async def test_one_is_set_and_changed_by_its_form_after_a_confirmation(
        self, client: httpx.AsyncClient, storage: Storage
    ) -> None:
        numbers = {"running": "3", "per_key": "", "starts": "20", "per": "1.5"}
        asked = await send(client, "/forms/limit/set", task_type="a b/c", confirmed="", **numbers)
        assert "Set this limit?" in asked.text
        assert 'name="starts" value="20"' in asked.text
        assert await storage.get_limit("a b/c") is None

        answer = await send(client, "/forms/limit/set", task_type="a b/c", **numbers)
        assert (answer.status_code, answer.headers["location"]) == (303, "/limits?done=set")
        assert "The limit is set." in (await client.get(answer.headers["location"])).text
        limit = await storage.get_limit("a b/c")
        assert limit is not None
        assert (limit.running, limit.per_key, limit.starts, limit.per_seconds) == (3, None, 20, 1.5)

        listed = (await client.get("/limits")).text
        assert 'href="/forms/limit?task_type=a+b%2Fc"' in listed
        form = (await client.get("/forms/limit?task_type=a+b%2Fc")).text
        for name, value in {"task_type": "a b/c", **numbers}.items():
            assert f'name="{name}"' in form
            assert f'value="{value}"' in form
        await send(client, "/forms/limit/set", task_type="a b/c", running="0")
        changed = await storage.get_limit("a b/c")
        assert changed is not None
        assert (changed.running, changed.starts) == (0, None)
        assert "0 of 0" in (await client.get("/limits")).text

    @pytest.mark.parametrize(
        ("fields", "told"),
        [
            ({"task_type": "", "running": "1"}, "task_type"),
            ({"task_type": "t"}, "nothing is limited"),
            ({"task_type": "t", "running": "1.5"}, "running is '1.5'"),
            ({"task_type": "t", "running": "-1"}, "running is -1"),
            ({"task_type": "t", "starts": "5"}, "starts and per belong together"),
            ({"task_type": "t", "starts": "5", "per": "0"}, "per is 0"),
            ({"task_type": "t", "starts": "5", "per": "nan"}, "per is nan"),
            ({"task_type": "t", "starts": "9" * 40, "per": "1"}, "starts is"),
        ],
    )
    async def test_a_refused_value_is_explained_beside_what_was_typed(
        self, client: httpx.AsyncClient, storage: Storage, fields: dict[str, str], told: str
    ) -> None:
        answer = await send(client, "/forms/limit/set", **fields)

        assert answer.status_code == 422
        assert told in unescape(answer.text).partition('role="alert">')[2]
        for value in fields.values():
            assert f'value="{value}"' in answer.text
        assert await storage.list_limits() == []

    async def test_one_is_deleted_after_a_confirmation(self, client: httpx.AsyncClient, storage: Storage) -> None:
        await storage.set_limit("a b/c", running=1)
        asked = await send(client, "/limits/a%20b%2Fc/delete", confirmed="")
        assert "Delete this limit?" in asked.text
        assert await storage.get_limit("a b/c") is not None

        answer = await send(client, "/limits/a%20b%2Fc/delete")

        assert answer.headers["location"] == "/limits?done=delete"
        assert await storage.get_limit("a b/c") is None
        assert "No task type is limited." in (await client.get("/limits")).text
        assert (await send(client, "/limits/a/raise")).status_code == 404


async def test_a_read_only_page_offers_no_decision_and_no_change(storage: Storage) -> None:
    await storage.store_task(TaskModel(id="ask", task_type="approval"))
    await storage.store_schedule(ScheduleModel.new("s", "t", every=60))
    await storage.set_limit("t", running=1)
    async with client_of(storage, read_only=True) as client:
        for path in ("/approvals", "/tasks/ask", "/schedules", "/schedules/s", "/limits", "/documents"):
            answer = await client.get(path, headers=AS_PAGE)
            assert (answer.status_code, 'method="post"' in answer.text) == (200, False)
            assert "/forms/" not in answer.text
        for path in ("/forms/limit", "/forms/schedule"):
            assert (await client.get(path, headers=AS_PAGE)).status_code == 403
