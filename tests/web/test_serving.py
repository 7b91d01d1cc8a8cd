"""The command `serve` as a process: where it listens, what it refuses, and how it ends."""

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from polling import until
from swarm_persistence import EventModel, MemoryStorage, SqliteStorage, TaskModel
from swarm_persistence.cli.main import main
from swarm_persistence.web import swarm_app
from swarm_persistence.web.server import serving
from web.servers import TOKEN, ServerProcess, server


async def test_it_ends_at_once_with_50_open_streams_and_waiting_claims(tmp_path: Path) -> None:
    process = ServerProcess([str(tmp_path / "swarm.db")], tmp_path)
    async with httpx.AsyncClient(base_url=process.url, timeout=60) as client:
        answers = [
            await client.send(client.build_request("GET", f"/api/v1/{noun}/stream?after=0{rest}"), stream=True)
            for noun, rest in (("events", ""), ("tasks", "&after="), ("messages", "&agent_id=a"))
            for _ in range(17)
        ]
        lines = [answer.aiter_lines() for answer in answers]
        assert {await anext(each) for each in lines} == {"retry: 1000"}
        claims = [
            asyncio.create_task(client.post("/api/v1/tasks/claim", json={"agent_id": f"a{n}", "wait": 60}))
            for n in range(5)
        ]
        await client.post("/api/v1/events", json={"event_type": "last"})
        loop = asyncio.get_running_loop()
        code, errors = await loop.run_in_executor(None, process.end)
        refused = [(await claim).status_code for claim in claims]
        for answer in answers:
            await answer.aclose()

    assert (code, errors) == (0, "")
    assert refused == [503] * 5
    # Closed well: nothing is left in the log, and it opens as it is.
    assert not (tmp_path / "swarm.db-wal").exists()
    async with await SqliteStorage.open(tmp_path / "swarm.db", must_exist=True) as storage:
        assert [event.event_type for event in await storage.read_events()] == ["last"]


@pytest.mark.parametrize("signals", [1, 2])
async def test_a_client_that_does_not_read_cannot_delay_the_end(tmp_path: Path, signals: int) -> None:
    async with await SqliteStorage.open(tmp_path / "swarm.db") as storage:
        for number in range(100):
            await storage.store_event(EventModel.new("large", "x" * 100_000 + str(number)))
    process = ServerProcess([str(tmp_path / "swarm.db")], tmp_path)
    host, _, port = process.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    writer.write(b"GET /api/v1/events/stream?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b"large")  # the first of many events has begun to come

    if signals == 2:
        process.process.terminate()
        await until(lambda: _refuses(host, int(port)))  # it has begun to end, and waits for the client
    ended = await asyncio.get_running_loop().run_in_executor(None, process.end)

    writer.transport.abort()
    assert ended == (0, "")
    assert not (tmp_path / "swarm.db-wal").exists()


def _refuses(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_client_that_sends_half_a_body_fails_nothing(tmp_path: Path) -> None:
    half = (
        b"POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b'Content-Length: 100\r\n\r\n{"task_type": '
    )
    with server(tmp_path, "swarm.db") as started:
        host, _, port = started.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as gone:
            gone.sendall(half)
        with socket.create_connection((host, int(port))) as staying:
            staying.sendall(half)
            assert httpx.get(f"{started.url}/api/v1/tasks").json()["items"] == []
            assert started.end() == (0, "")


async def test_a_request_that_is_sent_in_part_does_not_delay_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The server's other means to end a request come too late to help.
    monkeypatch.setattr("swarm_persistence.web.server._LONGEST_REQUEST_SECONDS", 1e6)
    monkeypatch.setattr("swarm_persistence.web.server._LONGEST_HANDLER_SECONDS", 1e6)
    line = b"POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    parts = (
        line,
        line + b"Content-Length: 9\r\n\r\n{",
        line + b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n",
        line + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
        line.replace(b"/api/v1/tasks", b"/mcp") + b"Content-Length: 9\r\n\r\n{",
    )
    clients: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    async with MemoryStorage() as storage, asyncio.timeout(60):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with serving(swarm_app(storage), listener) as url:
                for part in parts:
                    clients.append(await asyncio.open_connection(*listener.getsockname()))
                    clients[-1][1].write(part)
                    await clients[-1][1].drain()
                async with httpx.AsyncClient(base_url=url, timeout=60) as client:
                    assert (await client.get("/api/v1/tasks")).json()["items"] == []
        for reader, writer in clients:
            with suppress(ConnectionResetError):
                assert await reader.read() in (b"", b"HTTP/1.1 100 Continue\r\n\r\n")
            writer.close()


def test_a_swarm_is_served_beside_its_other_processes(tmp_path: Path) -> None:
    with server(tmp_path, "swarm.db") as started:
        assert (tmp_path / "swarm.db").exists()

        async def store() -> str:
            async with await SqliteStorage.open(tmp_path / "swarm.db") as storage:
                return (await storage.store_task(TaskModel.new("t", None))).id

        id = asyncio.run(store())
        assert httpx.get(f"{started.url}/api/v1/tasks/{id}").json()["task_type"] == "t"


def test_a_token_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    with server(tmp_path, "swarm.db", "--token-file", "token", "--host", "0.0.0.0") as started:
        url = started.url.replace("0.0.0.0", "127.0.0.1") + "/api/v1/tasks"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--host", "0.0.0.0"], "give --token-file, or --read-only --no-auth"),
        (["--host", "0.0.0.0", "--no-auth"], "give --token-file, or --read-only --no-auth"),
        (["--host", "0.0.0.0", "--read-only"], "give --token-file, or --read-only --no-auth"),
        (["--host", "::"], "give --token-file, or --read-only --no-auth"),
        (["--no-auth", "--token-file", "token"], "leave one of them out"),
        (["--token-file", "missing"], "cannot read the token from 'missing'"),
        (["--token-file", "token"], "16 characters"),
        (["--host", "no.such.name.invalid"], "--host is 'no.such.name.invalid'"),
        (["--port", "65536"], "'65536' is not a port"),
        (["--read-only"], "there is no database"),
    ],
)
def test_it_does_not_start_with_options_that_are_not_safe_or_make_no_sense(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    reason: str,
) -> None:
    (tmp_path / "token").write_text("short")
    monkeypatch.chdir(tmp_path)

    with suppress(SystemExit):  # of a number that argparse refuses
        assert main(["serve", "swarm.db", *arguments]) in (1, 2)

    assert reason in capsys.readouterr().err
    assert not (tmp_path / "swarm.db").exists()


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code = main(["serve", ":memory:", "--port", str(taken.getsockname()[1])])
    assert (code, "Address already in use" in capsys.readouterr().err) == (1, True)


def test_all_may_read_where_that_was_said_aloud(tmp_path: Path) -> None:
    async def make() -> None:
        async with await SqliteStorage.open(tmp_path / "swarm.db"):
            pass

    asyncio.run(make())
    with server(tmp_path, "swarm.db", "--host", "0.0.0.0", "--read-only", "--no-auth") as started:
        url = started.url.replace("0.0.0.0", "127.0.0.1") + "/api/v1/tasks"
        assert httpx.get(url).status_code == 200
        assert httpx.post(url, json={"task_type": "t"}).status_code == 403
