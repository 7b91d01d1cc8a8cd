"""Facts about the comments that tell a server which verb a statement belongs to."""

import asyncio
import re
from collections import defaultdict

import pytest

from postgres.servers import Server
from swarm_persistence import AgentModel, OtherError, PostgresStorage, QueryBuilder, TaskModel
from swarm_persistence.engines.sql.postgres.comments import VERB, commented
from swarm_persistence_conformance.records import a_task, an_agent, an_event, ids

COMMENT = re.compile(r" /\*action='([^']*)',application='swarm-persistence'\*/$")


def logged(server: Server, schema: str) -> dict[str, set[str]]:
    """Return the statements of a schema in the server's log, by the verbs that they name; "" for those without."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for entry in re.split(r"^\d{4}-\d\d-\d\d [^\n]*?LOG:  ", (server.folder / "log").read_text(), flags=re.MULTILINE):
        text = re.sub(r"^duration: [^\n]*?(?:statement|execute [^:]*): ", "", entry).partition("\nDETAIL")[0].rstrip()
        text = text.partition("\n20")[0].rstrip()
        if entry.startswith("duration") and f'"{schema}".' in text and " execute " in entry.partition("\n")[0]:
            comment = COMMENT.search(text)
            found[comment[1] if comment else ""].add(COMMENT.sub("", text))
    return found


def logging_url(server: Server, **options: str) -> str:
    """Return the URL of a database that logs what the storage runs."""
    return server.url(**options, options="-c%20log_min_duration_statement%3D0")


async def use(storage: PostgresStorage) -> None:
    """Call verbs of each kind."""
    await storage.store_agent(an_agent())
    await storage.store_tasks([a_task("1"), a_task("2", dependencies=["1"])])
    await storage.get_agent("agent-1")
    assert await storage.claim_task("1", "agent-1")
    (task,) = await storage.get_tasks_by_agent("agent-1")
    await storage.complete_task(task)
    assert await storage.claim_next_task("agent-1") is not None
    async with storage.transaction():
        await storage.store_event(an_event())
        await storage.read_events()
    await storage.modify(AgentModel, "agent-1", lambda agent: None)
    repository = storage.repository(TaskModel)
    await repository.query(QueryBuilder(TaskModel).where_eq("id", "1"))
    assert ids([each async for each in repository.iterate()]) == ["1", "2"]
    async for event in storage.watch_events():
        assert event.id == "event-1"
        break


class TestQueryComments:
    async def test_each_statement_names_its_verb(self, server: Server, schema: str) -> None:
        async with await PostgresStorage.open(logging_url(server, schema=schema, query_comments="true")) as storage:
            await use(storage)
            assert type(storage).__name__ == "PostgresStorage"

        found = logged(server, schema)
        expected = {
            "store", "get", "update", "store_tasks", "claim_task", "get_tasks_by_agent", "claim_next_task",
            "store_event", "read_events", "repository.query", "repository.batches", "watch_events",
        }  # fmt: skip
        assert expected <= found.keys()
        assert all("FOR UPDATE SKIP LOCKED" in text or "UPDATE" in text for text in found["claim_next_task"])
        assert not any(re.search(r"UPDATE|INSERT|DELETE", text) for text in found["get"] | found["watch_events"])

    async def test_without_the_option_there_is_no_comment(self, server: Server, schema: str) -> None:
        async with await PostgresStorage.open(logging_url(server, schema=schema)) as storage:
            await use(storage)

        assert logged(server, schema).keys() == {""}

    async def test_other_schemas_and_a_subclass_name_their_verbs_too(self, server: Server, schema: str) -> None:
        class Mine(PostgresStorage):
            async def mine(self) -> list[AgentModel]:
                return await self.list_agents()

        async with await Mine.open(logging_url(server, schema=schema, query_comments="true")) as storage:
            await storage.schema(f"{schema}_tenant").mine()
            assert isinstance(storage, Mine)

        assert "mine" in logged(server, f"{schema}_tenant")

    async def test_a_verb_that_is_called_often_is_prepared_once(self, server: Server, schema: str) -> None:
        url = server.url(schema=schema, query_comments="true", max_connections="1")
        async with await PostgresStorage.open(url) as storage:
            pool = storage._engine._loop_engine().pool

            async def prepared() -> int:
                connection = await pool.acquire(float("inf"))
                try:
                    return int((await connection.run("SELECT count(*) FROM pg_prepared_statements"))[0][0])
                finally:
                    pool.release(connection)

            counts = []
            for _ in range(3):
                await asyncio.gather(*(storage.claim_next_task("agent-1") for _ in range(20)))
                counts.append(await prepared())

        assert counts[1] == counts[2]

    async def test_what_is_no_flag_is_refused(self, server: Server) -> None:
        with pytest.raises(OtherError, match="query_comments"):
            await PostgresStorage.open(server.url(query_comments="perhaps"))


def test_a_comment_has_sqlcommenters_format() -> None:
    token = VERB.set("a verb's */ name")
    try:
        text = commented("SELECT 1")
    finally:
        VERB.reset(token)

    assert text == "SELECT 1 /*action='a%20verb%27s%20%2A%2F%20name',application='swarm-persistence'*/"
    assert commented("SELECT 1") == "SELECT 1"
