"""HEAD requests: the headers of the GET, and no body; and which methods a path has."""

import asyncio
import http.client
from pathlib import Path

import httpx
import pytest

from swarm_persistence import MemoryStorage, TaskModel
from web.servers import client_of, server

PATHS = (
    "/",
    "/tasks",
    "/static/page.css",
    "/api",
    "/api/openapi.json",
    "/api/v1/tasks",
    "/api/v1/tasks/known",
    "/nothing",
)
VARYING = ("date", "set-cookie")


async def test_it_is_answered_like_get_without_the_body() -> None:
    async with MemoryStorage() as storage, client_of(storage) as client:
        await storage.store_task(TaskModel(id="known", task_type="t"))
        for path in (*PATHS, "/nothing"):
            got, head = await client.get(path), await client.head(path)

            assert (head.status_code, head.content) == (got.status_code, b"")
            assert {*head.headers} - {*VARYING} == {*got.headers} - {*VARYING}
            assert head.headers["content-type"] == got.headers["content-type"]


async def test_it_does_not_wait_for_the_end_of_a_stream() -> None:
    async with client_of(most_streams=1) as client, asyncio.timeout(30):
        for path in ("/live", "/api/v1/tasks/stream", "/api/v1/events/stream"):
            answer = await client.head(path)
            assert (answer.status_code, answer.content) == (200, b"")
            assert answer.headers["content-type"].startswith("text/event-stream")


async def test_what_get_cannot_do_is_refused() -> None:
    async with client_of() as client:
        answers = [await client.request(method, "/api/v1/tasks/claim") for method in ("GET", "HEAD")]

    assert answers[0].status_code == answers[1].status_code >= 400


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/api/v1/tasks", "DELETE, GET, HEAD, OPTIONS, POST"),
        ("/api/v1/tasks/one", "GET, HEAD, OPTIONS, PATCH"),
        ("/api/v1/tasks/claim", "OPTIONS, POST"),
        ("/api/v1/documents/item", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("/login", "GET, HEAD, OPTIONS, POST"),
        ("/", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_path_says_which_methods_it_has(path: str, methods: str) -> None:
    async with client_of() as client:
        options, refused = [await client.request(method, path) for method in ("OPTIONS", "TRACE")]

    assert (options.status_code, options.headers["allow"], options.content) == (204, methods, b"")
    assert (refused.status_code, refused.headers["allow"]) == (405, methods)


def test_a_real_server_keeps_the_connection_in_step(tmp_path: Path) -> None:
    with server(tmp_path, "swarm.db") as serving:
        address = httpx.URL(serving.url)
        connection = http.client.HTTPConnection(address.host, address.port, timeout=30)
        for path in ("/", "/live", "/api/v1/tasks"):
            connection.request("HEAD", path)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b"")
        connection.request("GET", "/api/v1/tasks")
        assert connection.getresponse().read().startswith(b'{"items":[]')
        connection.close()
