"""Facts about `swarm-persistence migrate` on a server: it plans, goes forwards and back, and makes what is missing."""

import json

import asyncpg

from cli.commands import run_command
from postgres.servers import PASSWORD, Server, free_port
from swarm_persistence import PostgresStorage
from swarm_persistence.engines.sql.postgres.migrations import LATEST, MIGRATIONS
from swarm_persistence_conformance.records import a_task


async def test_it_goes_back_and_forwards_and_says_so(url: str, schema: str, storage: PostgresStorage) -> None:
    await storage.store_task(a_task())

    back = run_command("migrate", url, "--to", "1")
    plan = run_command("migrate", url, "--plan")
    forwards = run_command("migrate", url)
    again = run_command("migrate", url)
    told = json.loads(run_command("migrate", url, "--to", str(LATEST - 1), "--json").stdout)
    renewed = json.loads(run_command("migrate", url, "--json").stdout)

    assert (told["from"], told["to"], [step["version"] for step in told["steps"]]) == (LATEST, LATEST - 1, [LATEST])
    assert [step["is_upwards"] for step in renewed["steps"]] == [True]
    assert [done.stderr for done in (back, plan, forwards, again)] == [""] * 4
    first, *steps, last = back.stdout.splitlines()
    assert first.endswith(f"schema {schema}: version {LATEST}")
    assert [step.partition(" in ")[0] for step in steps] == [
        f"took back version {step.version} ({step.name})" for step in MIGRATIONS[:0:-1]
    ]
    assert last.endswith("version 1")
    assert "to version 2: the event floor\n  code of version 2 and newer works on it, and opens it\n" in plan.stdout
    assert "in a transaction that waits for locks a moment at a time:" in plan.stdout
    assert f'CREATE TABLE "{schema}".event_floor (number bigint NOT NULL);' in plan.stdout
    assert plan.stdout.endswith("nothing was changed\n")
    assert "took version 2 (the event floor)" in forwards.stdout
    assert again.stdout.endswith("there was nothing to do\n")
    assert PASSWORD not in f"{back.stdout}{plan.stdout}{forwards.stdout}"
    async with await PostgresStorage.open(url, migrate=False) as other:
        assert await other.get_task("task-1") is not None


async def test_it_creates_a_schema_and_its_plan_creates_none(url: str, schema: str, admin: asyncpg.Connection) -> None:
    plan = run_command("migrate", f"{url}&migrate=false", "--plan")

    assert "in one transaction with the other steps:" in plan.stdout
    assert "CONCURRENTLY" not in plan.stdout
    assert not await admin.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = $1", schema)
    assert run_command("migrate", f"{url}&migrate=false").returncode == 0
    async with await PostgresStorage.open(url, migrate=False) as storage:
        assert (await storage.migration_status()).version == LATEST


async def test_a_schema_that_is_newer_is_left_as_it_is(
    url: str, schema: str, storage: PostgresStorage, admin: asyncpg.Connection
) -> None:
    await admin.execute(f"INSERT INTO {schema}.schema_migrations VALUES (999, 'of tomorrow', now())")

    for arguments in ([], ["--plan"], ["--to", "1"]):
        done = run_command("migrate", url, *arguments)
        assert (done.returncode, "999" in done.stderr, "upgrade" in done.stderr) == (1, True, True)


async def test_a_role_that_may_not_is_told_which_role_may(
    server: Server, schema: str, storage: PostgresStorage, admin: asyncpg.Connection
) -> None:
    await storage.migrate_to(1)
    role = f"few_{schema}"
    await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA {schema} TO {role}")
    await admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}")

    done = run_command("migrate", server.url(user=role, password="x", schema=schema))

    assert done.returncode == 1
    assert "once as the role that owns the schema" in done.stderr


def test_a_server_that_is_not_there_is_named() -> None:
    port = free_port()

    done = run_command("migrate", f"postgresql://me:{PASSWORD}@127.0.0.1:{port}/swarm")

    assert (done.returncode, PASSWORD in done.stderr) == (1, False)
    assert f"127.0.0.1:{port}: nothing listens there" in done.stderr
