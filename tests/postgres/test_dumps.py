"""Facts about a swarm that a dump has taken to another server, where transactions are numbered anew."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import asyncpg
import pytest
import pytest_asyncio

from postgres.servers import PASSWORD, USER, Server, new_server, system_programs
from swarm_persistence import DocumentModel, PostgresStorage, TaskModel
from swarm_persistence.cli.main import main
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task

_MANY_TRANSACTIONS = """
DO $$ BEGIN FOR each IN 1..20000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$
"""
_HIGHEST = """
SELECT max(change_number) < pg_snapshot_xmax(pg_current_snapshot())::text::bigint
FROM (SELECT change_number FROM swarm.tasks UNION ALL SELECT change_number FROM swarm.documents) AS changes
"""


@pytest.fixture(scope="module")
def dump() -> Iterator[str]:
    """Give the dump of a swarm with 1,011 tasks, most of which were written more than once, and 7 documents."""
    with new_server(system_programs()) as source:
        asyncio.run(_fill(source))
        yield source.run(
            "pg_dump", "-h", "127.0.0.1", "-p", str(source.port), "-U", USER, "postgres", PGPASSWORD=PASSWORD
        )


@pytest.fixture
def target(dump: str) -> Iterator[Server]:
    """Give a server that has restored it; a durable one, as `doctor` finds fault with others."""
    with new_server(system_programs(), is_durable=True) as target:
        file = target.folder / "dump.sql"
        file.write_text(dump)
        target.run(
            "psql", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(target.port), "-U", USER,
            "-f", str(file), "postgres", PGPASSWORD=PASSWORD,
        )  # fmt: skip
        yield target


@pytest_asyncio.fixture
async def admin(target: Server) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(target.url())
    yield connection
    await connection.close()


async def _fill(source: Server) -> None:
    admin = await asyncpg.connect(source.url())
    async with await PostgresStorage.open(source.url()) as storage:
        await storage.store_many([a_task(str(number)) for number in range(1000)])
        await admin.execute(_MANY_TRANSACTIONS)
        for number in range(1000, 1011):
            await storage.store_task(a_task(str(number)))
        for _ in range(300):
            await storage.claim_next_task("agent-1", lease=3600)
        for number in range(7):
            await storage.put_documents([DocumentModel.new(("notes",), str(number))])
    await admin.close()


async def watched(storage: PostgresStorage, count: int) -> dict[str, TaskModel]:
    """Watch until so many tasks have come."""
    seen: dict[str, TaskModel] = {}
    async with aclosing(storage.watch_tasks()) as tasks, asyncio.timeout(20):
        async for task in tasks:
            seen[task.id] = task
            if len(seen) == count:
                return seen
    raise AssertionError("the watch has ended")


async def test_watchers_see_all_tasks_and_what_is_written_next(target: Server, admin: asyncpg.Connection) -> None:
    assert not await admin.fetchval(_HIGHEST)
    async with await PostgresStorage.open(target.url()) as storage:
        assert await admin.fetchval(_HIGHEST)
        watching = elsewhere(watched(storage, 1012))
        assert len(await watched(storage, 1011)) == 1011
        await storage.store_task(a_task("new"))

        stored = {task.id: task for task in await storage.repository(TaskModel).find_all()}
        assert await watching == stored


async def test_watchers_see_all_documents_and_what_is_written_next(target: Server) -> None:
    async with await PostgresStorage.open(target.url()) as storage:
        seen: list[str] = []
        async with aclosing(storage.watch_documents(("notes",))) as documents, asyncio.timeout(20):
            async for document in documents:
                seen.append(document.key)
                if len(seen) == 7:
                    await storage.put_documents([DocumentModel.new(("notes",), "new")])
                if len(seen) == 8:
                    break

    assert sorted(seen) == [*map(str, range(7)), "new"]


async def test_tasks_whose_numbers_were_set_to_0_are_seen(target: Server, admin: asyncpg.Connection) -> None:
    await admin.execute("UPDATE swarm.tasks SET change_number = 0")
    async with await PostgresStorage.open(target.url()) as storage:
        assert len(await watched(storage, 1011)) == 1011


async def test_two_that_open_it_at_once_do_not_get_in_each_others_way(target: Server) -> None:
    storages = await asyncio.gather(*(PostgresStorage.open(target.url()) for _ in range(4)))
    for storage in storages:
        assert len(await watched(storage, 1011)) == 1011
        await storage.close()


async def test_a_role_that_may_only_read_opens_it_and_is_warned(
    target: Server, admin: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await admin.execute("CREATE ROLE reader LOGIN PASSWORD 'reader'; GRANT USAGE ON SCHEMA swarm TO reader")
    await admin.execute("GRANT SELECT ON ALL TABLES IN SCHEMA swarm TO reader")

    with caplog.at_level(logging.WARNING, "swarm_persistence"):
        async with await PostgresStorage.open(target.url(user="reader", password="reader")) as storage:
            assert len(await storage.get_pending_tasks()) == 711

    assert "doctor --repair" in caplog.text
    assert not await admin.fetchval(_HIGHEST)


async def test_doctor_tells_and_repairs(
    target: Server, admin: asyncpg.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    async def doctor(*options: str) -> tuple[int, str]:
        code = await asyncio.to_thread(main, ["doctor", target.url(), *options])
        return code, capsys.readouterr().out

    code, printed = await doctor()
    assert code == 1
    assert "wrong  change numbers: 311 tasks and 7 documents have numbers of another server" in printed
    assert PASSWORD not in printed
    assert not await admin.fetchval(_HIGHEST)

    code, printed = await doctor("--repair", "--json")
    report = json.loads(printed)
    assert (code, report["ok"]) == (0, True)
    repaired = [finding["detail"] for finding in report["findings"] if finding["check"] == "repaired"]
    assert repaired == ["change numbers: those of 311 tasks and 7 documents were another server's"]
    assert await admin.fetchval(_HIGHEST)
    assert (await doctor())[0] == 0
