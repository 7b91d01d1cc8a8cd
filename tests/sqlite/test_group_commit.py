"""Facts about group commit: what waits together is committed together, and each operation fails alone."""

import asyncio
import gc
import resource
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw
import pytest

from polling import until
from sqlite.tracing import Watch
from swarm_persistence import (
    AgentModel,
    ClosedError,
    ConflictError,
    DatabaseError,
    DocumentModel,
    EventModel,
    PoolError,
    SerializationError,
    SqliteStorage,
    StorageError,
    TaskModel,
    TaskPriority,
)
from swarm_persistence.clock import ManualClock
from swarm_persistence.engines.sql.sqlite import submit
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task, an_agent, an_event, ids

LARGE = "x" * 20_000


async def stored_agents(storage: SqliteStorage) -> set[str]:
    return set(ids(await storage.repository(AgentModel).find_all()))


async def outcomes_of_storing(storage: SqliteStorage, agents: list[AgentModel]) -> dict[str, BaseException | None]:
    outcomes = await asyncio.gather(*map(storage.store_agent, agents), return_exceptions=True)
    errors = [outcome if isinstance(outcome, BaseException) else None for outcome in outcomes]
    return dict(zip(ids(agents), errors, strict=True))


@contextmanager
def file_size_limited_to(size: int) -> Iterator[None]:
    """Let the system refuse to write beyond this size; SQLite calls that an I/O error."""
    before, largest = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, largest))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, largest))


def lists_and_dicts() -> int:
    return sum(type(each) in (list, dict) for each in gc.get_objects())


class TestTogether:
    @pytest.mark.parametrize("argument", ["documents", "if_absent"])
    async def test_puts_that_wait_hold_no_lists_or_dicts_which_the_garbage_collector_would_count(
        self, storage: SqliteStorage, argument: str
    ) -> None:
        documents = [DocumentModel.new(("notes",), str(number), {"n": number}) for number in range(100)]
        gc.collect()
        gc.disable()
        try:
            before = lists_and_dicts()
            puts = [
                asyncio.create_task(storage.put_documents(**{"documents": (), argument: [document]}))
                for document in documents
            ]
            await asyncio.sleep(0)
            held = lists_and_dicts() - before
        finally:
            gc.enable()

        assert [counts.added for counts in await asyncio.gather(*puts)] == [1] * 100
        assert held < 10

    async def test_what_a_tick_writes_is_one_commit(self, storage: SqliteStorage, watch: Watch) -> None:
        watch.forget_statements()

        agents = [an_agent(f"agent-{number}") for number in range(100)]
        await asyncio.gather(*map(storage.store_agent, agents), *(storage.delete_agent(agent.id) for agent in agents))

        assert (watch.count("BEGIN IMMEDIATE"), watch.count("COMMIT")) == (1, 1)

    async def test_the_inserts_of_a_tick_are_one_statement_and_its_own_transaction(
        self, storage: SqliteStorage, watch: Watch
    ) -> None:
        watch.forget_statements()

        await asyncio.gather(*(storage.store_agent(an_agent(f"agent-{number}")) for number in range(100)))

        assert [statement.split("\n")[0].split(" (")[0] for statement in watch.statements] == ["INSERT INTO agents"]

    async def test_lists_of_events_are_one_statement_and_number_them_in_their_order(
        self, storage: SqliteStorage, watch: Watch
    ) -> None:
        await storage.store_event(an_event("single"))
        lists = [[an_event(f"event-{size}-{place}") for place in range(size)] for size in (30, 1, 20)]
        watch.forget_statements()

        await asyncio.gather(*map(storage.store_many, lists))

        assert [statement.split(" (")[0] for statement in watch.statements] == ["INSERT INTO events"]
        assert [event.sequence for events in lists for event in events] == [*range(2, 53)]
        assert [event.id for event in await storage.read_events(1)] == [each.id for events in lists for each in events]

    async def test_a_list_with_a_known_id_fails_as_a_whole_and_alone(self, storage: SqliteStorage) -> None:
        await storage.store_event(an_event("known"))
        before, after = [an_event("a"), an_event("b")], [an_event("e"), an_event("f")]

        outcomes = await asyncio.gather(
            *map(storage.store_many, (before, [an_event("c"), an_event("known"), an_event("d")], after)),
            return_exceptions=True,
        )

        assert [type(each) for each in outcomes if isinstance(each, Exception)] == [ConflictError]
        stored = await storage.read_events()
        assert [event.id for event in stored] == ["known", "a", "b", "e", "f"]
        assert [event.sequence for event in stored[1:]] == [event.sequence for event in (*before, *after)]

    async def test_the_claims_of_a_tick_let_what_is_due_be_ready_once(
        self, storage: SqliteStorage, watch: Watch
    ) -> None:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await storage.store_many(a_task(f"task-{number}", run_at=past) for number in range(20))
        watch.forget_statements()

        tasks = await asyncio.gather(*(storage.claim_next_task("agent-1") for _ in range(20)))

        assert {task.id for task in tasks if task is not None} == {f"task-{number}" for number in range(20)}
        # The first of a tick may go ahead alone.
        assert watch.count("UPDATE tasks\nSET\n  is_delayed") == watch.count("COMMIT") <= 2

    async def test_each_claim_of_a_transaction_lets_what_is_due_be_ready(
        self, storage: SqliteStorage, clock: ManualClock
    ) -> None:
        async with storage.transaction():
            assert await storage.claim_next_task("agent-1") is None
            await storage.store_task(a_task(run_at=clock.now() + timedelta(seconds=1)))
            clock.advance(2)
            assert await storage.claim_next_task("agent-1") is not None

    async def test_a_claim_that_is_undone_leaves_no_other_without_what_is_due(
        self, storage: SqliteStorage, path: Path
    ) -> None:
        past = datetime.now(UTC) - timedelta(seconds=1)
        high = TaskPriority.HIGH
        await storage.store_many([a_task("bad", run_at=past, priority=high), a_task("good", run_at=past)])
        with apsw.Connection(str(path)) as other:
            other.execute("UPDATE tasks SET payload = 'no JSON' WHERE id = 'bad'").fetchall()

        tasks = await asyncio.gather(*(storage.claim_next_task("agent-1") for _ in range(3)), return_exceptions=True)

        assert [task.id for task in tasks if isinstance(task, TaskModel)] == ["good"]

    async def test_the_writes_of_several_ticks_that_queue_behind_a_lock_are_one_statement(
        self, storage: SqliteStorage, path: Path, watch: Watch
    ) -> None:
        holder = apsw.Connection(str(path))
        holder.execute("BEGIN IMMEDIATE").fetchall()
        first = elsewhere(storage.store_agent(an_agent("first")))
        await until(lambda: storage._engine._busy_handler.wait.is_waiting)
        queued = []
        for number in range(8):
            queued.append(elsewhere(storage.store_agent(an_agent(f"agent-{number}"))))
            await until(lambda: len(storage._engine._writer._inbox) == len(queued))
        watch.forget_statements()

        holder.execute("ROLLBACK").fetchall()
        holder.close()
        await asyncio.gather(first, *queued)

        assert watch.count("INSERT INTO agents") == 1

    async def test_what_a_tick_reads_is_one_snapshot(self, storage: SqliteStorage, watch: Watch) -> None:
        watch.forget_statements()

        await asyncio.gather(*(storage.get_agent(f"agent-{number}") for number in range(100)))

        assert (watch.count("BEGIN"), watch.count("SELECT"), watch.count("COMMIT")) == (1, 100, 1)

    async def test_results_reach_their_own_callers(self, storage: SqliteStorage) -> None:
        events = [an_event(f"event-{number}") for number in range(300)]

        await asyncio.gather(*map(storage.store_event, events))

        stored = await storage.repository(EventModel).find_all()
        assert {event.id: event.sequence for event in stored} == {event.id: event.sequence for event in events}


class TestAlone:
    async def test_a_known_id_fails_alone(self, storage: SqliteStorage) -> None:
        await storage.store_many([an_agent("agent-3"), an_agent("agent-150")])

        outcomes = await outcomes_of_storing(storage, [an_agent(f"agent-{number}") for number in range(300)])

        failed = {id: type(outcome) for id, outcome in outcomes.items() if outcome is not None}
        assert failed == {"agent-3": ConflictError, "agent-150": ConflictError}
        assert await stored_agents(storage) == set(outcomes)

    async def test_a_refusal_by_another_constraint_than_a_unique_one_is_no_conflict(
        self, storage: SqliteStorage, path: Path
    ) -> None:
        with closing(apsw.Connection(str(path))) as connection:
            connection.execute(
                "CREATE TRIGGER refuse BEFORE INSERT ON agents WHEN NEW.name = 'refused' "
                "BEGIN SELECT RAISE(ABORT, 'by a trigger of the caller'); END"
            )
        agents = [an_agent("a"), an_agent("b", name="refused"), an_agent("c")]

        for several in (agents, [agents[1]]):
            outcomes = await outcomes_of_storing(storage, several)
            error = outcomes.pop("b")
            assert type(error) is DatabaseError
            assert "by a trigger of the caller" in str(error)
            assert [*outcomes.values()] == [None] * (len(several) - 1)

    async def test_each_failed_caller_gets_an_error_of_its_own(self, storage: SqliteStorage, watch: Watch) -> None:
        watch.writer.set_commit_hook(lambda: True)

        outcomes = await outcomes_of_storing(storage, [an_agent(f"agent-{number}") for number in range(10)])

        watch.writer.set_commit_hook(None)
        assert len({id(error) for error in outcomes.values()}) == 10

    async def test_a_record_that_is_too_large_fails_alone(self, storage: SqliteStorage, watch: Watch) -> None:
        watch.writer.limit(apsw.SQLITE_LIMIT_LENGTH, 100_000)
        agents = [an_agent(f"agent-{number}", name="x" * (200_000 if number == 70 else 1)) for number in range(300)]

        outcomes = await outcomes_of_storing(storage, agents)

        (too_large,) = (id for id, outcome in outcomes.items() if outcome is not None)
        assert (too_large, type(outcomes[too_large])) == ("agent-70", DatabaseError)
        assert await stored_agents(storage) == set(outcomes) - {"agent-70"}

    async def test_an_operation_of_several_statements_fails_as_a_whole(self, storage: SqliteStorage) -> None:
        await storage.store_agent(an_agent("known"))

        outcomes = await asyncio.gather(
            storage.store_task(a_task("before")),
            storage.store_many([a_task("a"), an_agent("known"), a_task("b")]),
            storage.store_task(a_task("after")),
            return_exceptions=True,
        )

        assert [type(outcome) for outcome in outcomes] == [TaskModel, ConflictError, TaskModel]
        assert ids(await storage.repository(TaskModel).find_all()) == ["before", "after"]

    async def test_cancelled_callers_do_not_disturb_their_neighbours(self, storage: SqliteStorage) -> None:
        calls = [elsewhere(storage.store_agent(an_agent(f"agent-{number}"))) for number in range(200)]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()

        outcomes = await asyncio.gather(*calls, return_exceptions=True)

        assert [type(outcome) for outcome in outcomes[1::2]] == [AgentModel] * 100
        assert {f"agent-{number}" for number in range(1, 200, 2)} <= await stored_agents(storage)


class TestFailures:
    """Failures of the whole transaction, each followed by a proof that the storage is usable again."""

    @pytest.mark.parametrize("count", [1, 20, 300])
    async def test_a_refused_commit_fails_all_that_was_in_it(
        self, storage: SqliteStorage, watch: Watch, count: int
    ) -> None:
        await storage.store_agent(an_agent("earlier"))
        watch.writer.set_commit_hook(lambda: True)

        outcomes = await outcomes_of_storing(storage, [an_agent(f"agent-{number}") for number in range(count)])

        watch.writer.set_commit_hook(None)
        assert {type(outcome) for outcome in outcomes.values()} == {DatabaseError}
        assert await stored_agents(storage) == {"earlier"}
        await storage.store_agent(an_agent("agent-0"))

    @pytest.mark.parametrize("pages", [1, 40, 120, 700])
    async def test_a_full_disk_fails_exactly_what_is_not_stored(
        self, storage: SqliteStorage, watch: Watch, pages: int
    ) -> None:
        # Large and small records, one statement for one and for many rows: SQLite undoes sometimes the statement that
        # fails, and sometimes the whole transaction.
        writer = watch.writer
        writer.execute(f"PRAGMA max_page_count = {writer.execute('PRAGMA page_count').get + pages}").fetchall()
        agents = [an_agent(f"agent-{number}", name=LARGE if number % 7 == 6 else "") for number in range(1_000)]

        outcomes: dict[str, BaseException | None] = {}
        for start in range(0, 1_000, 250):
            outcomes |= await outcomes_of_storing(storage, agents[start : start + 250])

        acknowledged = {id for id, outcome in outcomes.items() if outcome is None}
        errors = {type(outcome) for outcome in outcomes.values() if outcome is not None}
        assert (await stored_agents(storage), errors) == (acknowledged, {DatabaseError})
        assert all("disk is full" in str(outcome) for outcome in outcomes.values() if outcome is not None)

        writer.execute("PRAGMA max_page_count = 1000000").fetchall()
        again = await outcomes_of_storing(storage, [agent for agent in agents if agent.id not in acknowledged])
        assert set(again.values()) == {None}
        assert await stored_agents(storage) == set(outcomes)

    async def test_a_full_disk_in_a_transaction_rolls_it_back_and_the_next_goes_on(
        self, storage: SqliteStorage, watch: Watch
    ) -> None:
        writer = watch.writer
        writer.execute(f"PRAGMA max_page_count = {writer.execute('PRAGMA page_count').get + 20}").fetchall()

        async def store_too_much() -> None:
            async with storage.transaction():
                await storage.store_agent(an_agent("small"))
                for number in range(20):
                    await storage.store_agent(an_agent(f"agent-{number}", name=LARGE))

        with pytest.raises(DatabaseError, match="disk is full"):
            await store_too_much()

        assert await stored_agents(storage) == set()
        async with storage.transaction():
            await storage.store_agent(an_agent("small"))
        assert await stored_agents(storage) == {"small"}

    async def test_a_failing_disk_fails_exactly_what_is_not_stored(self, storage: SqliteStorage, path: Path) -> None:
        with file_size_limited_to(path.with_name("swarm.db-wal").stat().st_size + 1_200_000):
            outcomes: dict[str, BaseException | None] = {}
            for start in range(0, 200, 25):
                batch = [an_agent(f"agent-{number}", name=LARGE) for number in range(start, start + 25)]
                outcomes |= await outcomes_of_storing(storage, batch)

        acknowledged = {id for id, outcome in outcomes.items() if outcome is None}
        assert 0 < len(acknowledged) < 200
        assert await stored_agents(storage) == acknowledged
        assert {type(outcome) for outcome in outcomes.values() if outcome is not None} == {DatabaseError}
        await storage.store_agent(an_agent("once the disk is well"))

    async def test_a_begin_that_gets_no_lock_fails_with_its_cause(self, path: Path, watch: Watch) -> None:
        builder = SqliteStorage.builder().connection_timeout(0.05)
        async with await builder.build(path) as storage:
            holder = apsw.Connection(str(path))
            holder.execute("BEGIN IMMEDIATE").fetchall()

            outcomes = await outcomes_of_storing(storage, [an_agent("a"), an_agent("b")])
            begun = (await asyncio.gather(storage.begin_transaction(), return_exceptions=True))[0]

            holder.execute("ROLLBACK").fetchall()
            holder.close()
            await storage.store_agent(an_agent("c"))
            for error in (*outcomes.values(), begun):
                assert isinstance(error, PoolError)
                assert "another process" in str(error)
            assert await stored_agents(storage) == {"c"}

    async def test_writes_that_queue_behind_a_lock_name_it_and_keep_to_their_own_time(
        self, path: Path, watch: Watch
    ) -> None:
        async with await SqliteStorage.builder().connection_timeout(1.0).build(path) as storage:
            holder = apsw.Connection(str(path))
            holder.execute("BEGIN IMMEDIATE").fetchall()

            async def store(id: str) -> StorageError:
                is_nearly_up = asyncio.Event()
                asyncio.get_running_loop().call_later(0.95, is_nearly_up.set)
                with pytest.raises(PoolError) as caught:
                    await storage.store_agent(an_agent(id))
                assert is_nearly_up.is_set()
                return caught.value

            first = elsewhere(store("first"))
            await until(lambda: storage._engine._busy_handler.wait.is_waiting)
            errors = await asyncio.gather(first, store("second"), store("third"))

            holder.close()
            assert all("another process" in str(error) for error in errors)


class TestBackPressure:
    """Operations beyond so many are deferred before they are encoded."""

    @pytest.fixture(autouse=True)
    def _of_ten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(submit, "_MOST_OPERATIONS", 10)

    async def test_deferred_operations_run_in_order(self, storage: SqliteStorage) -> None:
        await asyncio.gather(*(storage.store_event(an_event(f"event-{number}")) for number in range(100)))

        assert ids(await storage.read_events()) == [f"event-{number}" for number in range(100)]
        found = await asyncio.gather(*(storage.repository(EventModel).find_by_id("event-7") for _ in range(100)))
        assert {event.id for event in found if event is not None} == {"event-7"}

    async def test_deferred_operations_are_counted_as_waiting(self, storage: SqliteStorage) -> None:
        async with storage.transaction():
            writes = [elsewhere(storage.store_event(an_event(f"event-{number}"))) for number in range(30)]
            await until(lambda: storage.pool_status().waiting == 30)
        await asyncio.gather(*writes)

    async def test_a_refused_one_fails_alone(self, storage: SqliteStorage) -> None:
        events = [an_event(f"event-{number}", data=float("nan") if number % 7 == 0 else 1) for number in range(50)]

        outcomes = await asyncio.gather(*map(storage.store_event, events), return_exceptions=True)

        refused = [place for place, outcome in enumerate(outcomes) if isinstance(outcome, SerializationError)]
        assert refused == list(range(0, 50, 7))
        assert len(await storage.read_events()) == 50 - len(refused)

    async def test_cancelled_operations_make_room_for_others(self, storage: SqliteStorage) -> None:
        writes = [asyncio.ensure_future(storage.store_event(an_event(f"event-{number}"))) for number in range(60)]
        await asyncio.sleep(0)
        for write in writes[20:40]:
            write.cancel()

        outcomes = await asyncio.gather(*writes, return_exceptions=True)

        assert [place for place, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)] == [
            *range(20, 40)
        ]
        assert len(await storage.read_events()) == 40

    async def test_those_put_off_are_told_when_the_storage_closes(self, path: Path) -> None:
        storage = await SqliteStorage.open(path)
        writes = [asyncio.ensure_future(storage.store_event(an_event(f"event-{number}"))) for number in range(60)]
        await asyncio.sleep(0)

        await storage.close()
        outcomes = await asyncio.wait_for(asyncio.gather(*writes, return_exceptions=True), 20)

        stored = [outcome for outcome in outcomes if isinstance(outcome, EventModel)]
        assert all(isinstance(outcome, EventModel | ClosedError) for outcome in outcomes)
        async with await SqliteStorage.open(path) as again:
            assert await again.read_events() == stored
