"""Errors as pages: a browser gets one it can read, a program the problem as JSON."""

import json
import socket
from pathlib import Path

import httpx

from swarm_persistence import Storage
from web.servers import TOKEN, URL, ServerProcess, client_of

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
JSON, HTML = "application/problem+json", "text/html; charset=utf-8"


PROBLEMS = (
    ("GET", "/nothing<b>", 404, "There is nothing at /nothing%3Cb%3E."),
    ("GET", "/api/nothing", 404, "There is nothing at /api/nothing."),
    ("GET", "/api//nothing/below", 404, "There is nothing at /api//nothing/below."),
    ("GET", "/api/v1", 404, "There is nothing at /api/v1."),
    ("GET", "/api/v1/nothing", 404, "There is nothing at /api/v1/nothing."),
    ("GET", "/api/v2/tasks", 404, "There is nothing at /api/v2/tasks."),
    ("OPTIONS", "/api/nothing", 404, "There is nothing at /api/nothing."),
    ("GET", "/mcp/nothing", 404, "There is nothing at /mcp/nothing."),
    ("GET", "/metrics/nothing", 404, "There is nothing at /metrics/nothing."),
    ("GET", "/%00", 404, "There is nothing at /%00."),
    ("GET", "/live?of=planets", 422, "of is 'planets', expected some of"),
    ("GET", "/static/none.css", 404, ""),
    ("DELETE", "/tasks", 403, "The CSRF token is missing"),
    ("GET", "/api/v1/tasks/n<b>1", 404, "task 'n<b>1'"),
    ("POST", "/search", 403, "The CSRF token is missing"),
)
ACCEPTED = (
    ("*/*", JSON),
    ("application/json, text/html", JSON),
    ("application/json, text/html;q=0.5", JSON),
    ("text/html;q=0, */*", JSON),
    ("text/html;q=x", JSON),
    (", ;q=1", JSON),
    ("text/html", HTML),
    ("application/json;q=0.2, text/HTML; q=0.7", HTML),
)


async def test_a_browser_gets_a_page_and_a_program_the_problem(client: httpx.AsyncClient) -> None:
    for method, path, status, reason in PROBLEMS:
        await _compare(client, method, path, status, reason)


async def _compare(client: httpx.AsyncClient, method: str, path: str, status: int, reason: str) -> None:
    sent = {"origin": URL}
    page = await client.request(method, path, headers={**BROWSER, **sent})
    problem = await client.request(method, path, headers=sent)

    assert (page.status_code, page.headers["content-type"]) == (status, HTML)
    assert (problem.status_code, problem.headers["content-type"]) == (status, JSON)
    assert problem.json()["status"] == status
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert int(page.headers["content-length"]) == len(page.content)
    assert f'<p class="problem-status">{status}</p>' in page.text
    assert "data-live" not in page.text
    shown = page.text.replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">")
    assert problem.json()["detail"] in shown
    assert "<b>" not in page.text
    assert reason in problem.json()["detail"]


async def test_a_method_that_an_address_does_not_have_is_a_problem(client: httpx.AsyncClient) -> None:
    for path in ("/", "/api", "/metrics", "/static/page.css", "/api/v1/tasks", "/api/v1/tasks/claim"):
        answer = await client.put(path)

        assert (answer.status_code, answer.headers["content-type"]) == (405, JSON), path
        assert answer.json()["detail"] == f"PUT is not possible at {path}."
        assert answer.headers["allow"]
    assert (await client.put("/api/nothing")).status_code == 404


def test_a_request_that_is_malformed_is_answered_by_a_problem(tmp_path: Path) -> None:
    started = ServerProcess(["swarm.db"], tmp_path)
    try:
        for request in (b"GET /a b HTTP/1.1\r\n\r\n", b"NOTHING\r\n\r\n", b"NO / HTTP/1.1\r\n\r\n"):
            address = httpx.URL(started.url)
            with socket.create_connection((address.host, address.port or 80), timeout=30) as connection:
                connection.sendall(request)
                head, _, body = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
            assert f"content-type: {JSON}".encode() in head
            assert json.loads(body)["status"] == 400
    finally:
        code, _ = started.end()
    assert code == 0


async def test_the_accept_header_decides(client: httpx.AsyncClient) -> None:
    for accept, type in ACCEPTED:
        assert (await client.get("/nothing", headers={"accept": accept})).headers["content-type"] == type, accept


async def test_a_storage_that_is_closed_is_told_on_a_page(client: httpx.AsyncClient, storage: Storage) -> None:
    await storage.close()

    answer = await client.get("/tasks", headers=BROWSER)

    assert (answer.status_code, answer.headers["content-type"], answer.headers["retry-after"]) == (503, HTML, "1")
    assert "closed" in answer.text


async def test_refusals_before_the_pages_are_pages_without_a_session() -> None:
    async with client_of(token=TOKEN) as client:
        name = await client.get("/", headers={**BROWSER, "host": "elsewhere.example"})
        unknown = await client.get("/api/v1/tasks", headers=BROWSER)

    assert (name.status_code, name.headers["content-type"]) == (421, HTML)
    assert (unknown.status_code, unknown.headers["content-type"]) == (401, HTML)
    assert 'href="/login"' in unknown.text
    assert "csrf_token" not in name.text + unknown.text


async def test_a_read_only_server_says_so_in_a_page() -> None:
    async with client_of(read_only=True) as client:
        answer = await client.post("/tasks/x/cancel", headers=BROWSER, data={"confirmed": "yes"})

    assert (answer.status_code, answer.headers["content-type"]) == (403, HTML)
    assert "This server is read-only." in answer.text
