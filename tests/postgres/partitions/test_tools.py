"""Facts about restoring, doctor and the command line with partitioned history."""

import json
from tempfile import TemporaryDirectory

import asyncpg
import pytest

from postgres.periods import pass_a_period
from postgres.servers import PASSWORD, Server
from swarm_persistence import ConflictError, EventModel, PostgresStorage
from swarm_persistence.cli.main import main
from swarm_persistence.cli.server_examination import examine_server
from swarm_persistence.transfer.restoring import restore
from swarm_persistence_conformance.records import an_event


class TestTools:
    async def test_a_backup_of_many_periods_is_restored_to_a_partitioned_schema_and_goes_on_there(
        self, server: Server, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await storage.store_many([an_event(f"event-{n}") for n in range(3)])
        for _ in range(4):  # of which nothing is stored in the last three
            await pass_a_period(storage, admin)
        last = await storage.store_event(an_event("gone"))
        await storage.repository(EventModel).delete("gone")
        with TemporaryDirectory() as folder:
            await storage.backup(f"{folder}/backup")
            url = server.url(schema=f"restored_{storage.schema_name}", partition_by="month")
            await restore(f"{folder}/backup", url)

        async with await PostgresStorage.open(url) as restored:
            assert await restored.read_events() == await storage.read_events()
            with pytest.raises(ConflictError):
                await restored.store_event(an_event("event-1"))
            assert ((await restored.store_event(an_event("new"))).sequence or 0) > (last.sequence or 0)

    async def test_what_was_restored_can_be_gone_on_with_at_once(
        self, server: Server, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        for _ in range(4):
            await pass_a_period(storage, admin)
        last = await storage.store_event(an_event("gone"))
        await storage.repository(EventModel).delete("gone")
        url = server.url(schema=f"beside_{storage.schema_name}", partition_by="month")
        async with await PostgresStorage.open(url) as other:
            with TemporaryDirectory() as folder:
                await storage.backup(f"{folder}/backup")
                await restore(f"{folder}/backup", other)

            assert ((await other.store_event(an_event("new"))).sequence or 0) > (last.sequence or 0)

    async def test_doctor_finds_each_partition_s_unique_indexes_and_one_that_is_missing(
        self, url: str, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        async def indexes() -> list[str]:
            findings = await examine_server(url, is_repairing=False)
            return [finding.level.value for finding in findings if finding.check == "indexes"]

        assert await indexes() == ["ok"]
        await admin.execute(f"DROP INDEX {storage.schema_name}.events_p1_by_key")
        assert await indexes() == ["wrong"]


class TestCommand:
    def test_it_partitions_a_schema_and_makes_it_whole_again(
        self, server: Server, schema: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        url = server.url(schema=schema)
        assert main(["migrate", url]) == 0
        capsys.readouterr()

        assert main(["partition", url, "--by", "day"]) == 0
        assert capsys.readouterr().out.splitlines()[0] == "events: partitioned by day"
        assert main(["partition", url, "--by", "day"]) == 0
        assert capsys.readouterr().out.splitlines()[0] == "events: partitioned by day, as before"
        assert main(["partition", url, "--by", "week", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert PASSWORD not in told["database"]
        assert told["partitions"] == dict.fromkeys(("events", "messages", "metrics"), "week")
        assert main(["partition", url, "--by", "none"]) == 0
        assert capsys.readouterr().out.splitlines()[0] == "events: not partitioned"

    def test_it_refuses_a_schema_that_is_not_there_and_any_other_database(
        self, server: Server, schema: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["partition", server.url(schema=schema), "--by", "day"]) == 1
        assert "there is no swarm" in capsys.readouterr().err
        assert main(["partition", "swarm.db", "--by", "day"]) == 2
        assert "is not a PostgreSQL database" in capsys.readouterr().err
