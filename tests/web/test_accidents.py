"""What happens to a server: older databases, a second server, a kill, tokens that others see, bodies without end."""

import asyncio
import socket
from contextlib import aclosing, suppress
from pathlib import Path

import httpx
import pytest

from swarm_persistence import InvalidQueryError, MemoryStorage, SqliteStorage, TaskModel
from swarm_persistence.cli.main import main
from swarm_persistence.engines.sql.sqlite.migrations import LATEST
from swarm_persistence.web import swarm_app
from web.accidents import events_of, resume_through_kills
from web.servers import TOKEN, ServerProcess, server


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """Give a database of the last schema version, with a task."""
    path = tmp_path / "older.db"

    async def store() -> None:
        async with await SqliteStorage.open(path) as storage:
            await storage.store_task(TaskModel(id="old", task_type="t", payload=None))

    asyncio.run(store())
    assert main(["migrate", str(path), "--to", str(LATEST - 1)]) == 0
    return path


class TestOlderDatabases:
    def test_one_is_migrated_and_served(self, older: Path, tmp_path: Path) -> None:
        with server(tmp_path, str(older)) as started:
            assert httpx.get(f"{started.url}/api/v1/tasks/old").json()["task_type"] == "t"

    def test_a_read_only_server_does_not_migrate_it(
        self, older: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = older.read_bytes()

        assert main(["serve", str(older), "--read-only", "--port", "0"]) == 1

        assert f"version {LATEST - 1}" in capsys.readouterr().err
        assert older.read_bytes() == before


class TestSeveralServers:
    async def test_what_one_stores_streams_from_the_other(self, tmp_path: Path) -> None:
        with server(tmp_path, "swarm.db") as one, server(tmp_path, "swarm.db") as other:
            async with asyncio.timeout(60), httpx.AsyncClient() as client, aclosing(events_of(other.url)) as events:
                for number in range(3):
                    event = {"event_type": "stored", "data": number}
                    assert (await client.post(f"{one.url}/api/v1/events", json=event)).status_code == 201
                    assert (await anext(events))[1] == number

    async def test_a_repeated_request_is_one_for_both(self, tmp_path: Path) -> None:
        with server(tmp_path, "swarm.db") as one, server(tmp_path, "swarm.db") as other:
            async with httpx.AsyncClient(headers={"Idempotency-Key": "once"}) as client:
                answers = [
                    await client.post(f"{each.url}/api/v1/tasks", json={"task_type": "t"}) for each in (one, other)
                ]

                assert len({answer.json()["id"] for answer in answers}) == 1
                assert len((await client.get(f"{one.url}/api/v1/tasks")).json()["items"]) == 1


class TestKills:
    async def test_a_client_resumes_behind_its_last_event_and_no_answered_write_is_lost(self, tmp_path: Path) -> None:
        stored, seen = await resume_through_kills("swarm.db", tmp_path)

        assert len(seen) == len(set(seen))
        assert len(stored) >= 20


def test_a_signal_that_comes_at_once_ends_it_well(tmp_path: Path) -> None:
    assert ServerProcess(["swarm.db"], tmp_path).end() == (0, "")


class TestTokens:
    def test_a_file_that_every_user_can_read_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text(TOKEN)
        (tmp_path / "token").chmod(0o644)

        code, errors = ServerProcess(["swarm.db", "--token-file", "token"], tmp_path).end()

        assert (code, errors) == (0, "warning: every user of this machine can read the token in 'token': chmod 600\n")

    def test_one_in_a_url_opens_nothing_and_is_logged_nowhere(self, tmp_path: Path) -> None:
        (tmp_path / "token").touch(mode=0o600)
        (tmp_path / "token").write_text(TOKEN)
        started = ServerProcess(["swarm.db", "--token-file", "token"], tmp_path)
        for path in ("/api/v1/tasks", "/api/v1/nothing", "/metrics", "/mcp"):
            assert httpx.get(started.url + path, params={"token": TOKEN, "access_token": TOKEN}).status_code == 401
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert httpx.get(f"{started.url}/api/v1/tasks?token={TOKEN}&limit=x", headers=bearer).status_code == 422

        started.process.terminate()
        assert started.process.communicate(timeout=30) == ("", "")

    async def test_a_failure_that_is_logged_names_no_url(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with MemoryStorage() as storage:
            transport = httpx.ASGITransport(swarm_app(storage, token=TOKEN), raise_app_exceptions=False)

            async def fail(*_: object) -> None:
                raise RuntimeError("broken")

            monkeypatch.setattr(MemoryStorage, "store_event", fail)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                url = f"/api/v1/events?token={TOKEN}"
                headers = {"Authorization": f"Bearer {TOKEN}"}
                answer = await client.post(url, headers=headers, json={"event_type": "e"})

        assert answer.status_code == 500
        assert "RuntimeError: broken" in caplog.text
        assert TOKEN not in caplog.text
        assert "token=" not in caplog.text


class TestBodies:
    def test_one_in_chunks_without_a_length_is_cut_off_at_the_limit(self, tmp_path: Path) -> None:
        with server(tmp_path, "swarm.db") as started:
            host, _, port = started.url.removeprefix("http://").partition(":")
            with socket.create_connection((host, int(port)), timeout=60) as client:
                client.sendall(
                    b"POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n"
                )
                chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
                with suppress(OSError):  # the server answers, and reads no more
                    for _ in range(64):
                        client.sendall(chunk)
                with suppress(OSError):
                    assert client.recv(65_536).startswith(b"HTTP/1.1 413 ")
            assert httpx.get(f"{started.url}/api/v1/tasks").json()["items"] == []


class TestNames:
    @pytest.mark.parametrize(
        "name",
        ["", "http://swarm.example", "swarm.example:8787", "swarm.example/page", "*", "a b", "sẅarm", "-a", "a..b"],
    )
    def test_nonsense_is_refused_before_anything_starts(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
    ) -> None:
        monkeypatch.chdir(tmp_path)

        assert main(["serve", ":memory:", "--port", "0", f"--allow-host={name}"]) == 1

        told = capsys.readouterr().err
        assert f"{name!r} is not the name of a server" in told or f'"{name}" is not the name of a server' in told

    async def test_an_application_refuses_it_too(self) -> None:
        async with MemoryStorage() as storage:
            with pytest.raises(InvalidQueryError, match="is not the name of a server"):
                swarm_app(storage, hosts=["https://swarm.example"])
