"""The forms that change all tasks which match a filter, and the filters by group and tag."""

import httpx
import pytest

from swarm_persistence import EventModel, QueryBuilder, Storage, TaskModel, TaskStatus
from swarm_persistence_conformance.records import status_of
from web.page.forms import AS_PAGE, send
from web.servers import client_of


class TestManyTasks:
    @pytest.fixture(autouse=True)
    async def tasks(self, storage: Storage) -> None:
        """Store some of two types, in every state that matters."""
        await storage.store_tasks([TaskModel(id=f"a-{n}", task_type="a", tags={"t": f"{n % 2}"}) for n in range(6)])
        await storage.store_tasks(
            [TaskModel(id="b", task_type="b"), TaskModel(id="waits", task_type="b", dependencies=["a-0"])]
        )
        assert await storage.claim_task("a-1", "worker", lease=300)
        for id in ("a-4", "a-5"):
            assert await storage.claim_task(id, "worker", lease=300)
        completed, failed = await storage.get_task("a-4"), await storage.get_task("a-5")
        assert completed is not None
        assert failed is not None
        await storage.complete_task(completed, None)
        await storage.fail_task(failed, "broken", max_retries=0)

    async def test_all_that_match_are_cancelled_after_a_confirmation_that_counts_them(
        self, client: httpx.AsyncClient, storage: Storage
    ) -> None:
        assert 'action="/forms/tasks/cancel"' in (await client.get("/tasks?task_type=a")).text
        asked = await send(client, "/forms/tasks/cancel", task_type="a", confirmed="")
        assert "Cancel 4 tasks?" in asked.text
        assert await status_of(storage, "a-0") is TaskStatus.PENDING

        answer = await send(client, "/forms/tasks/cancel", task_type="a")

        assert answer.headers["location"] == "/tasks?task_type=a&done=cancel&count=4"
        assert "4 tasks were cancelled." in (await client.get(answer.headers["location"])).text
        for n, status in enumerate((TaskStatus.CANCELLED,) * 4 + (TaskStatus.COMPLETED, TaskStatus.FAILED)):
            assert await status_of(storage, f"a-{n}") is status
        assert await status_of(storage, "b") is TaskStatus.PENDING
        assert await status_of(storage, "waits") is TaskStatus.FAILED

    async def test_only_failed_and_cancelled_ones_are_retried(
        self, client: httpx.AsyncClient, storage: Storage
    ) -> None:
        await storage.cancel_task("a-3")
        asked = await send(client, "/forms/tasks/retry", task_type="a", tag="t=1", confirmed="")
        assert "Retry 2 tasks?" in asked.text

        answer = await send(client, "/forms/tasks/retry", task_type="a", tag="t=1")

        assert "2 tasks were made pending again." in (await client.get(answer.headers["location"])).text
        assert await status_of(storage, "a-3") is await status_of(storage, "a-5") is TaskStatus.PENDING
        assert await status_of(storage, "a-4") is TaskStatus.COMPLETED
        assert await status_of(storage, "a-1") is TaskStatus.ASSIGNED

    async def test_a_thousand_at_once_are_changed_at_most(self, client: httpx.AsyncClient, storage: Storage) -> None:
        await storage.store_tasks([TaskModel(id=f"c-{n:04}", task_type="c") for n in range(1001)])

        assert (
            "Cancel 1,000 of the 1,001 tasks?"
            in (await send(client, "/forms/tasks/cancel", task_type="c", confirmed="")).text
        )
        await send(client, "/forms/tasks/cancel", task_type="c")

        counts = await storage.count_by(QueryBuilder(TaskModel).where_eq("task_type", "c"), "status")
        assert counts == {(TaskStatus.CANCELLED,): 1000, (TaskStatus.PENDING,): 1}

    async def test_without_a_filter_or_with_a_wrong_one_nothing_is_changed(
        self, client: httpx.AsyncClient, storage: Storage
    ) -> None:
        assert "/forms/tasks/" not in (await client.get("/tasks")).text
        for fields in ({}, {"task_type": ""}, {"status": "asleep"}, {"planet": "mars"}):
            assert (await send(client, "/forms/tasks/cancel", **fields)).status_code == 422
        assert (await send(client, "/forms/tasks/delete", task_type="a")).status_code == 404
        assert await status_of(storage, "a-0") is TaskStatus.PENDING
        async with client_of(storage, read_only=True) as reading:
            assert "/forms/tasks/" not in (await reading.get("/tasks?task_type=a", headers=AS_PAGE)).text


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
