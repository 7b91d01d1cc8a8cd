"""The pages of approvals, schedules, limits and documents: what they show, and what their forms change."""

from collections.abc import AsyncIterator
from datetime import timedelta
from html import unescape

import httpx
import pytest

from swarm_persistence import (
    AgentModel,
    DocumentModel,
    EventModel,
    MemoryStorage,
    ScheduleModel,
    Storage,
    TaskModel,
    TaskStatus,
)
from swarm_persistence.clock import now
from swarm_persistence.worker.registration import INCARNATION, TASK_TYPES
from web.servers import client_of
from web.test_page import AS_PAGE, client, csrf_token

__all__ = ["client"]


@pytest.fixture
async def storage() -> AsyncIterator[Storage]:
    """Give a storage with a live worker that handles one type."""
    async with MemoryStorage() as opened:
        metadata = {INCARNATION: "1", TASK_TYPES: ["handled"]}
        await opened.store_agent(AgentModel(id="worker", name="worker", agent_type="worker", metadata=metadata))
        yield opened


async def send(client: httpx.AsyncClient, path: str, **fields: str) -> httpx.Response:
    """Send the form of an action."""
    page = await client.get("/login")
    return await client.post(path, data={"csrf_token": csrf_token(page.text), "confirmed": "yes", **fields})


async def status_of(storage: Storage, id: str) -> TaskStatus:
    task = await storage.get_task(id)
    assert task is not None
    return task.status


class TestApprovals:
    @pytest.fixture
    async def tasks(self, storage: Storage) -> None:
        """Store a task to decide, one that waits for it, and those that are none."""
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


class TestDocuments:
    @pytest.fixture(autouse=True)
    async def documents(self, storage: Storage) -> None:
        """Store some."""
        many = [DocumentModel.new(("many",), f"{n:03}") for n in range(60)]
        facts = [
            DocumentModel.new(("a", "b/c"), "k&1", {"text": "The red fox"}, b"\0ABC" * 90, label="l m"),
            DocumentModel.new(("a",), "k2", {"text": "a red hen"}, embedding=[0.5, 1.0]),
            DocumentModel.new(("a",), "gone", {"text": "red"}, expires_at=now() - timedelta(seconds=1)),
        ]
        await storage.put_documents([*many, *facts])

    async def test_collections_lead_to_those_below_and_to_documents(self, client: httpx.AsyncClient) -> None:
        top = unescape((await client.get("/documents")).text)
        below = unescape((await client.get("/documents?in=a")).text)
        inner = unescape((await client.get("/documents?in=a&in=b%2Fc")).text)

        assert 'href="/documents?in=a"' in top
        assert 'href="/documents?in=a&in=b%2Fc"' in below
        assert 'data-key="k2"' in below
        assert "gone" not in below
        assert 'href="/documents/item?in=a&in=b%2Fc&key=k%261"' in inner

    async def test_one_shows_its_value_its_data_and_its_facts(self, client: httpx.AsyncClient) -> None:
        text = unescape((await client.get("/documents/item?in=a&in=b%2Fc&key=k%261")).text)
        other = (await client.get("/documents/item?in=a&key=k2")).text

        assert '"text": "The red fox"' in text
        assert "360 B, the first 256 bytes" in text
        assert "0000  00 41 42 43" in text
        assert ".ABC.ABC" in text
        assert 'href="/documents?in=a&in=b%2Fc&label=l+m"' in text
        assert "2 dimensions" in other
        assert (await client.get("/documents/item?in=a&key=gone")).status_code == 404
        assert (await client.get("/documents/item?key=x")).status_code == 422

    async def test_words_are_found_here_and_below(self, client: httpx.AsyncClient) -> None:
        everywhere = (await client.get("/documents?words=RED")).text
        inner = (await client.get("/documents?in=a&in=b%2Fc&words=red")).text
        none = (await client.get("/documents?words=blue")).text

        assert "k&amp;1" in everywhere
        assert "k2" in everywhere
        assert "gone" not in everywhere
        assert "k2" not in inner
        assert "No document has all of these words." in none

    async def test_pages_hold_each_key_once_and_a_label_chooses(self, client: httpx.AsyncClient) -> None:
        first = (await client.get("/documents?in=many")).text
        second = (await client.get("/documents?in=many&after=049")).text
        labelled = (await client.get("/documents?in=a&in=b%2Fc&label=l+m")).text
        unlabelled = (await client.get("/documents?in=many&label=l+m")).text

        assert "after=049" in first
        assert [f'data-key="{n:03}"' in first for n in range(60)] == [n < 50 for n in range(60)]
        assert [f'data-key="{n:03}"' in second for n in range(60)] == [n >= 50 for n in range(60)]
        assert 'data-key="k&amp;1"' in labelled
        assert "No document here has this label." in unlabelled

    async def test_what_names_no_collection_is_explained(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/documents?in=a%00b")

        assert answer.status_code == 200
        assert 'role="alert"' in answer.text


class TestFilters:
    async def test_groups_and_tags_choose_tasks_and_events(self, client: httpx.AsyncClient, storage: Storage) -> None:
        tagged = {"group": "run-7", "tags": {"tenant": "acme"}}
        task, other = TaskModel(task_type="t", **tagged), TaskModel(task_type="t", group="run-7")  # type: ignore[arg-type]
        event = EventModel(event_type="e", **tagged)  # type: ignore[arg-type]
        await storage.store_many([task, other, event])

        both = (await client.get("/tasks?group=run-7")).text
        one = (await client.get("/tasks?group=run-7&tag=tenant%3Dacme")).text
        events = (await client.get("/events?group=run-7&tag=tenant%3Dacme")).text

        assert f'data-key="{other.id}"' in both
        assert f'data-key="{task.id}"' in one
        assert f'data-key="{other.id}"' not in one
        assert f'data-key="{event.id}"' in events
        assert f'data-key="{event.id}"' not in (await client.get("/events?tag=tenant%3Dother")).text
        assert 'href="/tasks?tag=tenant%3Dacme"' in (await client.get(f"/tasks/{task.id}")).text


async def test_a_read_only_page_offers_no_decision_and_no_change(storage: Storage) -> None:
    await storage.store_task(TaskModel(id="ask", task_type="approval"))
    await storage.store_schedule(ScheduleModel.new("s", "t", every=60))
    async with client_of(storage, read_only=True) as client:
        for path in ("/approvals", "/tasks/ask", "/schedules", "/schedules/s", "/limits", "/documents"):
            answer = await client.get(path, headers=AS_PAGE)
            assert (answer.status_code, 'method="post"' in answer.text) == (200, False)
