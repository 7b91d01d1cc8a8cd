"""Facts about steps that work beside others: indexes, short writes, interruptions, and what older code may open."""

import asyncio
import sys

import asyncpg
import msgspec
import pytest

from postgres.ground import CATALOG, COLOURED, STEPS, Ground
from postgres.migration_trial import FILL
from postgres.poolers import new_pooler
from postgres.servers import Server
from swarm_persistence import MigrationError, PostgresStorage, init_storage
from swarm_persistence.cli.finding import Level
from swarm_persistence.cli.server_examination import examine_server
from swarm_persistence.engines.sql.postgres.migrations import LATEST, MIGRATIONS
from swarm_persistence.engines.sql.postgres.migrations.migration import FillRows, Part, PostgresMigration
from swarm_persistence_conformance.records import a_task

PLACES = [
    (step, is_upwards, place)
    for step in STEPS
    for is_upwards in (True, False)
    for place in range(1, len(step.groups(is_upwards=is_upwards)))
]
READ_BY_VERSION_2 = max(step.version for step in MIGRATIONS if step.version <= 2 or step.opens_from > 2)


def broken(step: PostgresMigration, groups_done: int, *, is_upwards: bool) -> PostgresMigration:
    """Return a step that fails after so many of its groups."""
    parts: list[Part] = []
    for group in step.groups(is_upwards=is_upwards)[:groups_done]:
        parts += group if isinstance(group, tuple) else [group]
    parts.append(FillRows("tasks", "SELECT 1 / ($1::bigint - $1) WHERE $2::bigint > 0"))
    changed = {"up" if is_upwards else "down": tuple(parts)}
    return msgspec.structs.replace(step, **changed)


def refused_by_old(step: PostgresMigration) -> PostgresMigration:
    return PostgresMigration(step.version, step.name, step.up, step.down, opens_from=step.version)


class TestSteps:
    async def test_a_step_fills_rows_and_builds_indexes_and_goes_back(self, ground: Ground) -> None:
        await ground.storage.store_many([a_task(f"task-{number}") for number in range(1200)])
        before = await ground.catalog()

        await ground.migrate(LATEST + 1)

        assert await ground.admin.fetchval(f"SELECT count(*) FROM {ground.schema}.tasks WHERE colour = 'red'") == 1200
        status = await ground.status()
        assert [step.version for step in status.applied] == [*range(1, LATEST + 2)]
        await ground.migrate(LATEST)
        assert await ground.catalog() == before

    async def test_it_leads_to_the_same_schema_as_a_fresh_one(self, ground: Ground) -> None:
        await ground.migrate(LATEST + 1)
        stepwise = await ground.catalog()

        await ground.migrate(0)
        await ground.migrate(LATEST + 1)

        assert await ground.catalog() == stepwise

    async def test_back_to_nothing_leaves_nothing_but_the_first_log(self, ground: Ground) -> None:
        await ground.migrate(LATEST + 1)

        await ground.migrate(0)

        rows = await ground.admin.fetch(CATALOG, ground.schema)
        assert {row[1].split(".")[1] for row in rows if row[0] == "column"} == {"schema_migrations"}
        assert {row[0] for row in rows} == {"column", "index"}

    @pytest.mark.parametrize("refuses", [True, False])
    async def test_this_code_opens_a_newer_schema_where_that_says_it_may(
        self, ground: Ground, *, refuses: bool
    ) -> None:
        step = refused_by_old(COLOURED) if refuses else COLOURED
        await ground.migrate(LATEST + 1, step)

        if refuses:
            with pytest.raises(MigrationError, match=f"has version {LATEST + 1}, and this code knows {LATEST}"):
                await PostgresStorage.open(ground.url)
            return
        async with await PostgresStorage.open(ground.url) as other:
            await other.store_task(a_task())
            assert (await other.migration_status()).version == LATEST + 1
            with pytest.raises(MigrationError, match="upgrade"):
                await other.migrate_to(LATEST)

    async def test_opening_changes_no_schema_if_it_is_not_to(self, ground: Ground) -> None:
        await ground.migrate(1)
        before = await ground.catalog()

        with pytest.raises(MigrationError, match=rf"version 1, this code needs version \d.*schema={ground.schema}'"):
            await PostgresStorage.builder().migrate(False).build(ground.url)
        with pytest.raises(MigrationError, match="version 1"):
            await init_storage(f"{ground.url}&migrate=false")
        with pytest.raises(MigrationError, match=r"'empty' holds no swarm yet, .*swarm-persistence migrate"):
            await PostgresStorage.open(ground.url.replace(ground.schema, "empty"), migrate=False)

        assert await ground.catalog() == before
        assert not await ground.admin.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = 'empty'")

    async def test_a_schema_in_order_is_opened_without(self, ground: Ground) -> None:
        async with await init_storage(ground.url, migrate=False) as other:
            await other.store_task(a_task())

        assert await ground.storage.get_task("task-1") is not None

    async def test_an_older_schema_on_which_code_can_work_is_opened_as_it_is(self, ground: Ground) -> None:
        await ground.version().open(await ground.connection(), is_migrating=False, retry_seconds=30)
        assert (await ground.status()).version == LATEST

        # A change that is in flight keeps this one from waiting.
        holder = await ground.connection()
        await holder.run("SELECT pg_advisory_lock(hashtextextended($1, 0))", (f"swarm-persistence {ground.schema}",))
        await ground.version().open(await ground.connection(), is_migrating=True, retry_seconds=30)
        assert (await ground.status()).version == LATEST
        holder.terminate()

        await ground.version().open(await ground.connection(), is_migrating=True, retry_seconds=30)
        assert (await ground.status()).version == LATEST + 1

    async def test_a_role_without_rights_opens_it_as_it_is(
        self, ground: Ground, server: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        role = f"worker_{ground.schema}"
        await ground.admin.execute(
            f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA {ground.schema} TO {role}"
        )
        await ground.admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {ground.schema} TO {role}")
        worker = ground.at(server.url(user=role, password="x", schema=ground.schema))
        connection = await worker.connection()

        await worker.version().open(connection, is_migrating=True, retry_seconds=30)

        assert (await ground.status()).version == LATEST
        assert "this role may not change it" in caplog.text
        connection.terminate()

    async def test_an_index_that_an_interrupted_build_left_is_built_again(self, ground: Ground) -> None:
        await ground.admin.execute(f"ALTER TABLE {ground.schema}.tasks ADD COLUMN colour text")
        await ground.admin.execute(f"CREATE INDEX tasks_by_colour ON {ground.schema}.tasks (id)")
        await ground.admin.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1::text::regclass",
            f"{ground.schema}.tasks_by_colour",
        )
        await ground.admin.execute(f"ALTER TABLE {ground.schema}.tasks DROP COLUMN colour")

        await ground.migrate(LATEST + 1)

        text = await ground.admin.fetchval(
            "SELECT pg_get_indexdef($1::text::regclass)", f"{ground.schema}.tasks_by_colour"
        )
        assert text.endswith("(colour)")

    @pytest.mark.parametrize(
        ("step", "is_upwards", "groups_done"),
        PLACES,
        ids=[f"{step.version}-{up}-{place}" for step, up, place in PLACES],
    )
    async def test_every_step_goes_on_and_back_from_each_of_its_places(
        self, ground: Ground, step: PostgresMigration, is_upwards: bool, groups_done: int
    ) -> None:
        start, end = (step.version - 1, step.version) if is_upwards else (step.version, step.version - 1)
        await ground.migrate(end)
        at_end = await ground.catalog()
        await ground.migrate(start)
        at_start = await ground.catalog()
        await ground.admin.execute(FILL.format(schema=ground.schema), 1)

        for target, expected in ((end, at_end), (start, at_start)):
            await ground.migrate(start)
            with pytest.raises(MigrationError, match="division by zero"):
                await ground.migrate(end, broken(step, groups_done, is_upwards=is_upwards))
            await ground.migrate(target)
            assert await ground.catalog() == expected

    async def test_a_column_is_added_beside_a_transaction_that_ends_and_not_one_that_stays(
        self, ground: Ground, rival: asyncpg.Connection
    ) -> None:
        transaction = rival.transaction()
        await transaction.start()
        await rival.execute("LOCK TABLE tasks IN ACCESS SHARE MODE")
        with pytest.raises(MigrationError, match="other transactions kept what it has to lock"):
            await ground.migrate(LATEST + 1, retry_seconds=0.2)
        assert (await ground.status()).version == LATEST

        migrating = asyncio.create_task(ground.migrate(LATEST + 1))
        await asyncio.wait_for(
            ground.storage.store_task(a_task()), 20
        )  # a change in its way would wait for the rival's end
        await transaction.rollback()
        await migrating

    async def test_code_of_version_2_sees_its_own_version_and_cannot_take_its_steps_back(self, ground: Ground) -> None:
        await ground.migrate(LATEST + 1)

        # What that code reads, and what it does to go back.
        assert (
            await ground.admin.fetchval(f"SELECT max(version) FROM {ground.schema}.schema_migrations")
            == READ_BY_VERSION_2
        )
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="later steps"):
            await ground.admin.execute(f"DELETE FROM {ground.schema}.schema_migrations WHERE version = 2")

    async def test_code_of_version_2_is_kept_from_a_schema_that_would_break_it(self, ground: Ground) -> None:
        await ground.migrate(LATEST + 1, refused_by_old(COLOURED))
        assert await ground.admin.fetchval(f"SELECT max(version) FROM {ground.schema}.schema_migrations") == LATEST + 1
        await ground.migrate(LATEST, refused_by_old(COLOURED))
        assert (
            await ground.admin.fetchval(f"SELECT max(version) FROM {ground.schema}.schema_migrations")
            == READ_BY_VERSION_2
        )

    async def test_doctor_tells_of_a_newer_schema_on_which_this_code_works(self, ground: Ground) -> None:
        await ground.migrate(LATEST + 1)

        (finding,) = [each for each in await examine_server(ground.url, is_repairing=False) if each.check == "schema"]

        assert (finding.level, finding.remedy) == (Level.ADVICE, "upgrade the package")

    async def test_a_step_is_taken_through_a_pooler(self, server: Server, ground: Ground) -> None:
        await ground.migrate(LATEST)
        async with new_pooler(server, size=2) as url:
            behind = ground.at(f"{url}?schema={ground.schema}")

            await asyncio.gather(behind.migrate(LATEST + 1), ground.migrate(LATEST + 1))
            await behind.migrate(LATEST)

        assert (await ground.status()).version == LATEST

    @pytest.mark.parametrize("is_noticed", [True, False])
    async def test_a_build_whose_process_was_killed_is_finished_by_the_next_opening(
        self, ground: Ground, rival: asyncpg.Connection, *, is_noticed: bool
    ) -> None:
        await ground.migrate(LATEST)
        expected = await ground.catalog()
        await ground.migrate(3)
        await ground.admin.execute(FILL.format(schema=ground.schema), 100)
        # What has begun before a build keeps it waiting.
        await rival.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await rival.fetch("SELECT count(*) FROM tasks")
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "swarm_persistence", "migrate", ground.url)
        pid = await ground.waiting_build()

        process.kill()
        await process.wait()
        if is_noticed:  # as the server does when it answers; before, it goes on with the build
            await ground.admin.execute("SELECT pg_terminate_backend($1)", pid)
        opening = asyncio.create_task(PostgresStorage.open(ground.url))
        await rival.execute("ROLLBACK")
        await (await opening).close()

        await ground.migrate(LATEST)
        assert await ground.catalog() == expected

    async def test_many_that_migrate_at_once_all_succeed(self, ground: Ground) -> None:
        async def open_it() -> None:
            await ground.version().open(await ground.connection(), is_migrating=True, retry_seconds=30)

        await asyncio.gather(*(open_it() for _ in range(3)), *(ground.migrate(LATEST + 1) for _ in range(3)))

        assert (await ground.status()).version == LATEST + 1

    async def test_what_a_superuser_adds_belongs_to_the_owner(self, server: Server, ground: Ground) -> None:
        owner, schema = f"owner_{ground.schema}", f"owned_{ground.schema}"
        await ground.admin.execute(f"CREATE ROLE {owner} LOGIN PASSWORD 'x'")
        await ground.admin.execute(f"GRANT CREATE ON DATABASE postgres TO {owner}")
        url = server.url(user=owner, password="x", schema=schema)
        async with await PostgresStorage.open(url) as storage:
            await storage.migrate_to(2)

            await ground.at(server.url(schema=schema)).migrate(LATEST + 1)
            await ground.at(url).migrate(2)
            await storage.migrate_to(LATEST)

        relations = await ground.admin.fetch(
            "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = $1::text::regnamespace",
            schema,
        )
        assert [name for (name,) in relations] == [owner]

    async def test_roles_of_workers_may_use_what_a_step_adds(self, ground: Ground) -> None:
        await ground.migrate(0)
        await ground.migrate(2)  # the log of later steps is not there yet
        await ground.admin.execute(
            f"CREATE ROLE hand_{ground.schema}; GRANT USAGE ON SCHEMA {ground.schema} TO hand_{ground.schema}"
        )
        await ground.admin.execute(
            f"GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA {ground.schema} TO hand_{ground.schema}"
        )
        await ground.admin.execute(f"REVOKE INSERT ON {ground.schema}.schema_migrations FROM hand_{ground.schema}")

        await ground.migrate(LATEST + 1)

        for table, may_insert in (("colours", True), ("schema_steps", False)):
            for right, is_given in (("INSERT", may_insert), ("SELECT", True)):
                found = await ground.admin.fetchval(
                    "SELECT has_table_privilege($1, $2, $3)", f"hand_{ground.schema}", f"{ground.schema}.{table}", right
                )
                assert found is is_given, (table, right)
