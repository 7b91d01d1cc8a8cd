"""Facts about what `doctor` says of a PostgreSQL server, and of a swarm's schema there."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial

import asyncpg
import pytest
import pytest_asyncio

from postgres.poolers import new_pooler
from postgres.servers import PASSWORD, Server, embedded_programs, new_server
from swarm_persistence import ConflictError, PostgresStorage, TaskModel
from swarm_persistence.cli.finding import Finding, Level
from swarm_persistence.cli.main import main
from swarm_persistence.cli.schema_checks import examine_dead_rows
from swarm_persistence.cli.server_checks import examine_old_snapshots, examine_waits
from swarm_persistence.cli.server_examination import examine_server
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.engine import PostgresEngine
from swarm_persistence.engines.sql.postgres.settings import PostgresSettings
from swarm_persistence.engines.sql.postgres.unpartitioning import Unpartitioning
from swarm_persistence_conformance.records import a_task, an_event


@pytest.fixture(scope="module")
def durable_server() -> Iterator[Server]:
    """Give a server with the settings that it comes with, which can prepare transactions."""
    with new_server(embedded_programs(), is_durable=True, max_prepared_transactions="5") as server:
        yield server


@pytest.fixture
def durable_url(durable_server: Server, schema: str) -> str:
    return durable_server.url(schema=schema)


@pytest_asyncio.fixture
async def swarm(durable_url: str) -> AsyncIterator[PostgresStorage]:
    """Give a storage on it, with some records."""
    async with await PostgresStorage.open(durable_url) as storage:
        await storage.store_many([a_task("a"), a_task("b"), an_event("c")])
        yield storage


@pytest_asyncio.fixture
async def owner(durable_server: Server) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(durable_server.url())
    yield connection
    await connection.close()


def of(findings: list[Finding], check: str) -> Finding:
    """Return the only finding of a check."""
    (found,) = [finding for finding in findings if finding.check == check]
    return found


async def test_a_sound_swarm_has_no_advice(swarm: PostgresStorage, durable_url: str) -> None:
    findings = await examine_server(durable_url, is_repairing=False)
    assert {finding.level for finding in findings} == {Level.OK}, findings
    assert {finding.check for finding in findings} == {
        "pooler", "schema", "change numbers", "server", "clock", "settings", "connections", "old snapshots", "locks",
        "sequences", "indexes", "dead rows", "missing_dependency",
    }  # fmt: skip


async def test_a_task_that_waits_for_one_that_is_not_stored_is_named(swarm: PostgresStorage, durable_url: str) -> None:
    await swarm.store_tasks([a_task("c", dependencies=["a", "mistyped"]), TaskModel.new("new", 1, dependencies=["b2"])])

    finding = of(await examine_server(durable_url, is_repairing=False), "missing_dependency")

    assert finding.level is Level.ADVICE
    assert finding.detail.endswith("'c' waits for 'mistyped'")


async def test_a_server_that_may_lose_what_was_written_is_wrong(
    url: str, storage: PostgresStorage, capsys: pytest.CaptureFixture[str]
) -> None:
    # The other tests' server is as fast as it is because its disk is not waited for.
    code = await asyncio.to_thread(main, ["doctor", url, "--json"])
    report = json.loads(capsys.readouterr().out)
    details = [finding["detail"] for finding in report["findings"] if finding["level"] == "wrong"]
    assert code == 1
    assert [detail.split(":")[0] for detail in details] == ["fsync is off", "full_page_writes is off"]
    assert PASSWORD not in json.dumps(report)


async def test_sequences_behind_their_tables_are_found_and_repaired(
    swarm: PostgresStorage, durable_url: str, owner: asyncpg.Connection, schema: str
) -> None:
    await owner.execute(f"ALTER SEQUENCE {schema}.tasks_sequence_seq RESTART")
    found = of(await examine_server(durable_url, is_repairing=False), "sequences")
    assert found.level is Level.WRONG
    assert "tasks" in found.detail

    findings = await examine_server(durable_url, is_repairing=True)
    assert of(findings, "repaired").detail == "sequences: that of the tasks was behind its table"
    assert of(findings, "sequences").level is Level.OK
    await swarm.store_task(a_task("after"))


async def run_remedies(owner: asyncpg.Connection, findings: list[Finding]) -> None:
    """Run what the findings on indexes say, as it is printed."""
    for finding in findings:
        if finding.check == "indexes" and finding.remedy is not None:
            assert finding.remedy.startswith("run: "), finding
            await owner.execute(finding.remedy.removeprefix("run: "))


@pytest.mark.parametrize(
    "missing",
    [("tasks_by_key", Level.WRONG), ("tasks_by_agent", Level.ADVICE), ("events_by_type_and_arrival", Level.ADVICE)],
)
async def test_a_missing_index_is_named_with_the_statement_that_makes_it(
    swarm: PostgresStorage, durable_url: str, owner: asyncpg.Connection, schema: str, missing: tuple[str, Level]
) -> None:
    index, level = missing
    await owner.execute(f"DROP INDEX {schema}.{index}")
    findings = await examine_server(durable_url, is_repairing=False)
    found = of(findings, "indexes")
    assert (found.level, index in found.detail) == (level, True)

    await run_remedies(owner, findings)
    assert of(await examine_server(durable_url, is_repairing=False), "indexes").level is Level.OK


async def test_the_missing_index_of_a_unique_column_is_wrong(
    swarm: PostgresStorage, durable_url: str, owner: asyncpg.Connection, schema: str
) -> None:
    await owner.execute(f"ALTER TABLE {schema}.tasks DROP CONSTRAINT tasks_id_key")
    findings = await examine_server(durable_url, is_repairing=False)
    assert (of(findings, "indexes").level, "tasks_id_key" in of(findings, "indexes").detail) == (Level.WRONG, True)

    await run_remedies(owner, findings)
    with pytest.raises(ConflictError):
        await swarm.store_task(a_task("a"))


async def test_the_remedies_of_a_partitioned_table_can_be_run(
    durable_server: Server, owner: asyncpg.Connection, schema: str
) -> None:
    url = durable_server.url(schema=schema, partition_by="day")
    async with await PostgresStorage.open(url) as storage:
        await storage.store_event(an_event("a"))
    await owner.execute(f"DROP INDEX {schema}.events_by_time, {schema}.events_p0_by_key, {schema}.messages_p1_id_key")
    await owner.execute(f"DROP INDEX {schema}.events_by_agent")
    await owner.execute(f"CREATE INDEX events_by_agent ON ONLY {schema}.events (agent_id)")  # of no partition: invalid
    findings = [one for one in await examine_server(url, is_repairing=False) if one.check == "indexes"]
    assert {one.detail.split()[0] for one in findings} == {
        "events_by_time", "events_p0_by_key", "messages_p1_id_key", "events_by_agent",
    }  # fmt: skip

    await run_remedies(owner, findings)
    assert of(await examine_server(url, is_repairing=False), "indexes").level is Level.OK


async def test_the_remedies_of_a_schema_with_the_name_of_a_keyword_can_be_run(
    durable_server: Server, owner: asyncpg.Connection
) -> None:
    url = durable_server.url(schema="user")
    async with await PostgresStorage.open(url):
        await owner.execute('DROP INDEX "user".tasks_by_agent')
    await run_remedies(owner, await examine_server(url, is_repairing=False))
    found = of(await examine_server(url, is_repairing=False), "indexes")
    await owner.execute('DROP SCHEMA "user" CASCADE')
    assert found.level is Level.OK


@pytest.mark.parametrize("name", ["broken_off", '"Broken off"'])
async def test_an_index_that_is_not_valid_is_wrong(
    swarm: PostgresStorage, durable_url: str, owner: asyncpg.Connection, schema: str, name: str
) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        await owner.execute(f"CREATE INDEX CONCURRENTLY {name} ON {schema}.tasks ((1 / unmet_dependencies))")
    findings = await examine_server(durable_url, is_repairing=False)
    assert of(findings, "indexes").level is Level.WRONG
    assert name.strip('"') in of(findings, "indexes").detail

    with pytest.raises(asyncpg.DivisionByZeroError):
        await run_remedies(owner, findings)


async def test_what_an_interrupted_reindex_leaves_is_to_be_dropped(
    swarm: PostgresStorage, durable_url: str, owner: asyncpg.Connection, schema: str
) -> None:
    # As REINDEX CONCURRENTLY names what it builds; a build that fails leaves the same.
    with pytest.raises(asyncpg.DivisionByZeroError):
        await owner.execute(f"CREATE INDEX CONCURRENTLY some_ccnew ON {schema}.tasks ((1 / unmet_dependencies))")
    findings = await examine_server(durable_url, is_repairing=False)
    assert of(findings, "indexes").level is Level.WRONG

    await run_remedies(owner, findings)
    assert of(await examine_server(durable_url, is_repairing=False), "indexes").level is Level.OK


async def test_a_step_that_is_half_done_is_named_with_the_command_that_finishes_it(
    swarm: PostgresStorage, durable_url: str, owner: asyncpg.Connection, schema: str
) -> None:
    await swarm.migrate_to(7)
    # Of the way back from version 7, a kill has left the first index, and a part of the second one.
    await owner.execute(
        f"UPDATE {schema}.schema_steps SET applied_at = NULL, is_upwards = false, groups_done = 1 WHERE version = 7"
    )
    await owner.execute(f"CREATE INDEX tasks_pending ON {schema}.tasks (priority)")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await owner.execute(f"CREATE INDEX CONCURRENTLY tasks_ready ON {schema}.tasks ((1 / unmet_dependencies))")
    findings = await examine_server(durable_url, is_repairing=False)
    found = of(findings, "schema")
    assert found.level is Level.ADVICE
    assert "the step back from version 7 (one index of pending tasks) is half done" in found.detail
    assert f"?schema={schema}'" in (found.remedy or "")
    indexes = of(findings, "indexes")
    assert (indexes.level, "tasks_ready" in indexes.detail) == (Level.ADVICE, True)
    assert "swarm-persistence migrate" in (indexes.remedy or "")


async def found_by(url: str, check: Callable[[Connection], AsyncIterator[Finding]]) -> list[Finding]:
    """Run one check."""
    engine = PostgresEngine.of(url, PostgresSettings())

    async def look(connection: Connection) -> list[Finding]:
        return [finding async for finding in check(connection)]

    try:
        found: list[Finding] = await engine.on_a_connection(look)
        return found
    finally:
        await engine.close()


async def found_at_last(url: str, check: Callable[[Connection], AsyncIterator[Finding]], count: int) -> list[Finding]:
    """Run one check until it has so many findings, the first of which is not that all is well."""
    async with asyncio.timeout(20):
        while True:
            found = await found_by(url, check)
            if len(found) == count and found[0].level is not Level.OK:
                return found
            await asyncio.sleep(0.05)


async def test_what_keeps_vacuum_from_its_work_is_named(
    swarm: PostgresStorage, durable_server: Server, durable_url: str, owner: asyncpg.Connection
) -> None:
    async with AsyncExitStack() as opened:
        idle = await asyncpg.connect(durable_server.url(), server_settings={"application_name": "a report"})
        opened.push_async_callback(idle.close)
        await idle.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        prepared = await asyncpg.connect(durable_server.url())
        await prepared.execute("BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'forgotten'")
        await prepared.close()
        try:
            findings = await found_by(durable_url, partial(examine_old_snapshots, long_seconds=0))
            assert (
                of(await found_by(durable_url, partial(examine_old_snapshots, long_seconds=600)), "old snapshots").level
                is Level.OK
            )
        finally:
            await owner.execute("ROLLBACK PREPARED 'forgotten'")
    named = "\n".join(finding.detail for finding in findings)
    assert "a report" in named
    assert "'forgotten'" in named
    assert {finding.level for finding in findings} == {Level.ADVICE}


async def test_a_session_that_waits_for_a_lock_is_named_with_those_it_waits_for(
    swarm: PostgresStorage, durable_server: Server, durable_url: str, owner: asyncpg.Connection, schema: str
) -> None:
    blocked = await asyncpg.connect(durable_server.url())
    await owner.execute(f"BEGIN; LOCK TABLE {schema}.agents")
    waiting = asyncio.create_task(blocked.fetch(f"SELECT FROM {schema}.agents"))
    try:
        (found,) = await found_at_last(durable_url, partial(examine_waits, long_seconds=0), 1)
        assert str(blocked.get_server_pid()) in found.detail
        assert str(owner.get_server_pid()) in found.detail
    finally:
        await owner.execute("ROLLBACK")
        await waiting
        await blocked.close()


async def test_tables_that_are_not_cleared_are_named(
    swarm: PostgresStorage, durable_url: str, owner: asyncpg.Connection, schema: str
) -> None:
    await owner.execute(f"ALTER TABLE {schema}.events SET (autovacuum_enabled = off)")
    await owner.execute(
        f"INSERT INTO {schema}.events (id, event_type, data, timestamp) "
        "SELECT number::text, 'many', '{}', now() FROM generate_series(1, 20000) AS number"
    )
    await owner.execute(f"DELETE FROM {schema}.events")
    await owner.execute("SELECT pg_stat_force_next_flush()")
    findings = await found_at_last(durable_url, partial(examine_dead_rows, schema=schema), 2)
    assert [finding.level for finding in findings] == [Level.WRONG, Level.ADVICE]
    assert "events" in findings[1].detail


async def test_a_role_with_few_rights_gets_what_it_may_see(
    swarm: PostgresStorage, durable_server: Server, owner: asyncpg.Connection, schema: str
) -> None:
    await owner.execute(f"CREATE ROLE observer_{schema} LOGIN PASSWORD 'observer'")
    await owner.execute(f"GRANT USAGE ON SCHEMA {schema} TO observer_{schema}")
    await owner.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO observer_{schema}")
    url = durable_server.url(user=f"observer_{schema}", password="observer", schema=schema)
    findings = await examine_server(url, is_repairing=False)
    assert of(findings, "schema").level is Level.OK
    assert of(findings, "sequences").level is Level.ADVICE
    remedies = [finding.remedy.removeprefix("run: ") for finding in findings if finding.remedy is not None]
    assert f"GRANT pg_read_all_stats TO observer_{schema}" in remedies
    for remedy in remedies:
        await owner.execute(remedy)
    assert {finding.level for finding in await examine_server(url, is_repairing=False)} == {Level.OK}


async def test_a_pooler_is_told_of(durable_server: Server, swarm: PostgresStorage, schema: str) -> None:
    async with new_pooler(durable_server) as pooler:
        findings = await examine_server(f"{pooler}?schema={schema}", is_repairing=False)
    assert "transaction mode" in of(findings, "pooler").detail


@pytest_asyncio.fixture
async def partitioned(durable_url: str) -> AsyncIterator[PostgresStorage]:
    """Give a storage whose history is partitioned by month."""
    async with await PostgresStorage.builder().partition_by("month").build(durable_url) as storage:
        yield storage


async def partitions_found(url: str) -> list[Finding]:
    return [finding for finding in await examine_server(url, is_repairing=False) if finding.check == "partitions"]


async def test_sound_partitions_have_no_advice(partitioned: PostgresStorage, durable_url: str) -> None:
    assert [finding.level for finding in await partitions_found(durable_url)] == [Level.OK]


async def test_a_missing_partition_of_the_next_period_is_told_and_made(
    partitioned: PostgresStorage, durable_url: str, owner: asyncpg.Connection, schema: str
) -> None:
    await owner.execute(f"DELETE FROM {schema}.partitions WHERE name = 'events_p1'; DROP TABLE {schema}.events_p1")

    (found,) = await partitions_found(durable_url)
    assert found.level is Level.ADVICE
    assert "events has no partition for the month from" in found.detail
    await owner.execute((found.remedy or "").removeprefix("run: "))

    assert [finding.level for finding in await partitions_found(durable_url)] == [Level.OK]


async def test_a_period_that_goes_on_after_its_end_is_told_and_ended(
    partitioned: PostgresStorage, durable_url: str, owner: asyncpg.Connection, schema: str
) -> None:
    await owner.execute(
        f"UPDATE {schema}.partitions SET begun_at = begun_at - interval '70 days', "
        "made_at = made_at - interval '70 days' WHERE parent = 'events'"
    )

    (found,) = await partitions_found(durable_url)
    assert "events: rows still go into the month that ended at" in found.detail
    await owner.execute((found.remedy or "").removeprefix("run: "))

    (found,) = await partitions_found(durable_url)
    assert "events has no partition for the month from" in found.detail


async def test_a_detached_partition_is_told(
    partitioned: PostgresStorage, durable_url: str, owner: asyncpg.Connection, schema: str
) -> None:
    await owner.execute(f"ALTER TABLE {schema}.events DETACH PARTITION {schema}.events_p0")

    (found,) = await partitions_found(durable_url)

    assert (found.level, found.detail.partition(",")[0]) == (Level.WRONG, "events_p0 is detached from events")


async def test_an_interrupted_conversion_is_told(
    partitioned: PostgresStorage, durable_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Unpartitioning, "_copy_noted", fail)
    with pytest.raises(ZeroDivisionError):
        await partitioned.partition(None)

    (found,) = await partitions_found(durable_url)

    assert found.level is Level.ADVICE
    assert "is being converted to a plain table, or the conversion was interrupted" in found.detail
    assert "swarm-persistence partition --by none" in (found.remedy or "")
    assert f"?schema={schema}'" in (found.remedy or "")
