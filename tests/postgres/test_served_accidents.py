"""Servers of a swarm on PostgreSQL: one is killed, two share a database, the database restarts under an open page."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from polling import until
from postgres.servers import Server, embedded_programs, new_server
from swarm_persistence import PostgresStorage, TaskModel, TaskStatus
from web.accidents import events_of, resume_through_kills
from web.servers import ServerProcess, server


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    """Give a server for this file, which one of its tests restarts."""
    with new_server(embedded_programs()) as started:
        yield started


@pytest.fixture
def url(database: Server, schema: str) -> str:
    """Give the URL of an unused schema on it."""
    return database.url(schema=schema)


@asynccontextmanager
async def changes_of(url: str, names: str) -> AsyncIterator[Any]:
    """Yield a function that waits until an open page would be told of a change."""
    async with (
        httpx.AsyncClient(base_url=url, timeout=60) as client,
        client.stream("GET", "/live", params={"of": names}) as answer,
    ):
        lines = answer.aiter_lines()

        async def change() -> None:
            async for line in lines:
                if line == "event: change":
                    return
            raise AssertionError("the stream has ended")

        yield change


async def page(url: str, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        return await client.get(path, headers={"accept": "text/html"})


async def shows(url: str, path: str, text: str) -> bool:
    answer = await page(url, path)
    return answer.status_code == 200 and text in answer.text


class TestKills:
    async def test_a_client_resumes_behind_its_last_event_and_no_answered_write_is_lost(
        self, url: str, tmp_path: Path
    ) -> None:
        stored, seen = await resume_through_kills(url, tmp_path)

        assert len(seen) == len(set(seen))
        assert len(stored) >= 20

    async def test_a_claim_that_waits_takes_no_task_with_it_and_one_that_is_held_is_given_back(
        self, url: str, storage: PostgresStorage, tmp_path: Path
    ) -> None:
        held = await storage.store_task(TaskModel.new("t", None))
        process = ServerProcess([url], tmp_path)
        async with asyncio.timeout(60), httpx.AsyncClient(base_url=process.url, timeout=60) as client:
            claim = {"agent_id": "gone", "lease": 0.5}
            answer = await client.post("/api/v1/tasks/claim", json=claim)
            assert answer.json()["id"] == held.id
            waiting = asyncio.create_task(client.post("/api/v1/tasks/claim", json={**claim, "wait": 60}))
            async with changes_of(process.url, "tasks"):
                process.process.kill()
                process.process.communicate()
                with pytest.raises(httpx.TransportError):
                    await waiting
        new = await storage.store_task(TaskModel.new("t", None))

        claimed = await storage.claim_next_task("other")
        assert claimed is not None
        assert claimed.id == new.id

        async def is_given_back() -> bool:
            return bool((await storage.requeue_expired_tasks()).requeued)

        await until(is_given_back)
        given_back = await storage.get_task(held.id)
        assert given_back is not None
        assert (given_back.status, given_back.assigned_to, given_back.retry_count) == (TaskStatus.PENDING, None, 1)


class TestTwoServers:
    async def test_each_shows_what_the_other_changes_on_its_open_pages_and_streams(
        self, url: str, tmp_path: Path
    ) -> None:
        with server(tmp_path, url) as one, server(tmp_path, url) as other:
            async with asyncio.timeout(90), httpx.AsyncClient(timeout=60) as client:
                for here, there in ((one, other), (other, one)):
                    task = {"id": f"by-{here.process.pid}", "task_type": "t"}
                    async with changes_of(there.url, "tasks limits") as change:
                        await client.post(f"{here.url}/api/v1/tasks", json=task)
                        await change()
                        await until(partial(shows, there.url, "/tasks", f'data-key="{task["id"]}"'))
                        limit = f"{here.url}/api/v1/limits/{task['id']}"
                        (await client.put(limit, json={"running": 3})).raise_for_status()
                        await change()
                        await until(partial(shows, there.url, "/limits", f'data-key="{task["id"]}"'))
                    async with aclosing(events_of(there.url)) as events:
                        event = {"event_type": "e", "data": here.process.pid}
                        (await client.post(f"{here.url}/api/v1/events", json=event)).raise_for_status()
                        while (await anext(events))[1] != here.process.pid:
                            pass


class TestRestarts:
    async def test_an_open_page_recovers_from_a_restart_of_the_database(
        self, database: Server, url: str, tmp_path: Path
    ) -> None:
        process = ServerProcess([f"{url}&connection_timeout=1"], tmp_path)
        try:
            async with asyncio.timeout(90), changes_of(process.url, "tasks") as change:
                assert (await page(process.url, "/tasks")).status_code == 200
                await asyncio.to_thread(database.stop)
                assert (await page(process.url, "/tasks")).status_code == 503
                await asyncio.to_thread(database.start)
                async with await PostgresStorage.open(url) as storage:
                    task = await storage.store_task(TaskModel.new("afterwards", None))
                await change()
                await until(lambda: shows(process.url, "/tasks", f'data-key="{task.id}"'))
                assert task.status is TaskStatus.PENDING
        finally:
            if not database.is_running:
                database.start()
            code, _ = process.end()  # the log tells of the database that was away
        assert code == 0
