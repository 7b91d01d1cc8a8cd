"""The forms that change one task."""

import httpx
import pytest

from swarm_persistence import Storage, TaskPriority, TaskStatus
from web.page.forms import AS_PAGE, send
from web.servers import client_of

pytestmark = pytest.mark.usefixtures("swarm")


class TestActions:
    async def test_a_task_is_cancelled_and_retried(self, client: httpx.AsyncClient, storage: Storage) -> None:
        answer = await send(client, "/tasks/ready-0/cancel")

        assert (answer.status_code, answer.headers["location"]) == (303, "/tasks/ready-0?done=cancel")
        cancelled = await storage.get_task("ready-0")
        assert cancelled is not None
        assert cancelled.status is TaskStatus.CANCELLED
        await send(client, "/tasks/ready-0/retry")
        retried = await storage.get_task("ready-0")
        assert retried is not None
        assert retried.status is TaskStatus.PENDING

    async def test_the_priority_of_a_pending_task_is_changed(self, client: httpx.AsyncClient, storage: Storage) -> None:
        await send(client, "/tasks/ready-0/priority", priority="critical")

        task = await storage.get_task("ready-0")
        assert task is not None
        assert task.priority is TaskPriority.CRITICAL
        assert task.updated_at > task.created_at

    async def test_only_the_claim_that_was_shown_is_released(self, client: httpx.AsyncClient, storage: Storage) -> None:
        for claim, reason in (("7", "the claim number 7 of task"), ("", "expected the number of the claim")):
            refused = await send(client, "/tasks/analyze/release", claim=claim)
            assert (refused.status_code, reason in refused.text) == (409, True)

        await send(client, "/tasks/analyze/release", claim="1")

        task = await storage.get_task("analyze")
        assert task is not None
        assert (task.status, task.assigned_to) == (TaskStatus.PENDING, None)

    async def test_a_change_without_a_confirmation_asks_for_one(
        self, client: httpx.AsyncClient, storage: Storage
    ) -> None:
        answer = await send(client, "/tasks/ready-0/priority", confirmed="", priority="critical")

        assert "Change the priority of this task?" in answer.text
        assert "data-live" not in answer.text  # its address shows no page
        assert '<input type="hidden" name="priority" value="critical">' in answer.text
        task = await storage.get_task("ready-0")
        assert task is not None
        assert task.priority is TaskPriority.LOW

    async def test_what_is_not_possible_is_explained_on_the_page(self, client: httpx.AsyncClient) -> None:
        answers = [
            await send(client, "/tasks/plan/cancel"),
            await send(client, "/tasks/ready-0/retry"),
            await send(client, "/tasks/plan/priority", priority="low"),
            await send(client, "/tasks/ready-0/priority", priority="extreme"),
        ]

        assert [answer.status_code for answer in answers] == [409] * 4
        assert all('role="alert"' in answer.text and "data-live" not in answer.text for answer in answers)
        assert (await send(client, "/tasks/nothing/retry")).status_code == 404
        assert (await send(client, "/tasks/plan/delete")).status_code == 404

    async def test_a_form_without_its_csrf_token_changes_nothing(
        self, client: httpx.AsyncClient, storage: Storage
    ) -> None:
        answer = await client.post("/tasks/ready-0/cancel", data={"confirmed": "yes"})

        assert answer.status_code == 403
        task = await storage.get_task("ready-0")
        assert task is not None
        assert task.status is TaskStatus.PENDING

    async def test_a_read_only_page_has_no_forms_of_changes(self, storage: Storage) -> None:
        async with client_of(storage, read_only=True) as client:
            for id in ("ready-0", "analyze", "plan"):
                assert 'method="post"' not in (await client.get(f"/tasks/{id}", headers=AS_PAGE)).text
