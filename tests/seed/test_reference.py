"""Every name, argument, field, member, default and promise of the seed's reference, `api-reference.md`, is here."""

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
import pytest_asyncio

import swarm_persistence
from swarm_persistence import (
    AgentModel,
    AgentStatus,
    BlockingRepository,
    BlockingStorage,
    DatabaseError,
    EventModel,
    MemoryStorage,
    MessageModel,
    MetricModel,
    NotFoundError,
    QueryBuilder,
    Repository,
    SqliteStorage,
    Storage,
    StorageError,
    TaskModel,
    TaskPriority,
    TaskStatus,
    Transaction,
    init_storage,
    open_storage,
)
from swarm_persistence.backends.wasm import WasmStorage
from swarm_persistence_conformance.records import ids

REFERENCE = (Path(__file__).parent / "api-reference.md").read_text()
BLOCKS = re.findall(r"^```rust\n(.*?)^```", REFERENCE, re.MULTILINE | re.DOTALL)
_DECLARATION = re.compile(r"^(?:pub )?(trait|struct|enum|impl(?:<T>)?) (\w+)(?:<T>)?[^{\n]*\{\n(.*?)^\}", re.M | re.S)
_FUNCTION = re.compile(r"fn (\w+)\(([^)]*)\)")

BUILDER = type(SqliteStorage.builder())
OWNERS: dict[str, type[Any]] = {
    "Storage": Storage,
    "Transaction": Transaction,
    "Repository": Repository,
    "SqliteStorage": SqliteStorage,
    "SqliteStorageBuilder": BUILDER,
    "MemoryStorage": MemoryStorage,
    "WasmStorage": WasmStorage,
    "QueryBuilder": QueryBuilder,
}
BLOCKING: dict[str, type[Any]] = {"Storage": BlockingStorage, "Repository": BlockingRepository}


def declared(*kinds: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the body of each declaration of the reference of these kinds."""
    for block in BLOCKS:
        for kind, name, body in _DECLARATION.findall(block):
            if kind in kinds:
                yield name, body


def functions() -> Iterator[tuple[str, str, list[str]]]:
    """Yield owner, name and arguments of each function that the reference declares."""
    for owner, body in declared("trait", "impl", "impl<T>"):
        for name, arguments in _FUNCTION.findall(body):
            named = [part.split(":")[0].strip() for part in arguments.split(",") if ":" in part]
            yield owner, name, [argument.removeprefix("mut ") for argument in named if "self" not in argument]


FUNCTIONS = [*functions()]
STRUCTS = {name: re.findall(r"pub (\w+):", body) for name, body in declared("struct") if "pub " in body}
ENUMS = {name: re.findall(r"^    (\w+),", body, re.M) for name, body in declared("enum") if name != "StorageError"}
ERRORS = re.findall(r'#\[error\("([^"]*): \{0\}"\)\]\n    (\w+)\(', REFERENCE)
METHODS = re.findall(r"^### `(\w+)`|^##### `(\w+)\(([^)]*)\)`", REFERENCE, re.M)


def methods_of_models() -> Iterator[tuple[str, str, list[str]]]:
    """Yield model, name and arguments of each method that the reference describes under a heading."""
    model = ""
    for heading, name, arguments in METHODS:
        model = heading or model
        if name and model.endswith("Model"):
            named = [part.split(":")[0].strip() for part in arguments.split(",") if ":" in part]
            yield model, name, named


def first_arguments(function: Any) -> list[str]:
    """Return the arguments that can be given by position."""
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return [each.name for each in parameters if each.kind in by_position and each.name not in ("self", "cls")]


def required_arguments(function: Any) -> list[str]:
    """Return the arguments that must be given."""
    parameters = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    missing = inspect.Parameter.empty
    return [p.name for p in parameters if p.default is missing and p.kind not in kinds and p.name != "self"]


def test_the_reference_was_read() -> None:
    assert len([name for owner, name, _ in FUNCTIONS if owner == "Storage"]) == 27
    assert {owner for owner, _, _ in FUNCTIONS} == OWNERS.keys()
    models = {"AgentModel", "TaskModel", "EventModel", "MessageModel", "MetricModel"}
    assert {*STRUCTS} == models
    assert {*ENUMS} == {"AgentStatus", "TaskPriority", "TaskStatus"}
    assert len(ERRORS) == 7
    assert {model for model, _, _ in methods_of_models()} == models - {"MetricModel"}


@pytest.mark.parametrize(("owner", "name", "arguments"), FUNCTIONS, ids=str)
def test_a_function_takes_the_seeds_arguments_in_their_order(owner: str, name: str, arguments: list[str]) -> None:
    for owners in (OWNERS, BLOCKING):
        if owner in owners:
            function = getattr(owners[owner], name)
            own = first_arguments(function)[: len(arguments)]
            assert len(own) == len(arguments)
            assert {*required_arguments(function)} <= {*own}
            if owner in ("Storage", "Repository", "QueryBuilder"):
                assert own == arguments


@pytest.mark.parametrize("name", [name for owner, name, _ in FUNCTIONS if owner == "Storage"])
def test_a_verb_is_awaited_and_its_blocking_form_is_not(name: str) -> None:
    returned = inspect.signature(getattr(Storage, name), eval_str=True).return_annotation

    # `begin_transaction` binds the transaction to the caller's context, which a coroutine of its own could not.
    assert inspect.iscoroutinefunction(getattr(Storage, name)) or returned == Coroutine[Any, Any, Transaction]
    assert not inspect.iscoroutinefunction(getattr(BlockingStorage, name))


@pytest.mark.parametrize("model", STRUCTS)
def test_a_model_has_the_seeds_fields_in_their_order(model: str) -> None:
    fields: tuple[str, ...] = getattr(swarm_persistence, model).__struct_fields__

    assert [name for name in fields if name in STRUCTS[model]] == STRUCTS[model]


@pytest.mark.parametrize(("model", "name", "arguments"), [*methods_of_models()], ids=str)
def test_a_method_of_a_model_takes_the_seeds_arguments(model: str, name: str, arguments: list[str]) -> None:
    function = getattr(getattr(swarm_persistence, model), name)

    assert first_arguments(function)[: len(arguments)] == arguments
    assert {*required_arguments(function)} <= {*arguments}


@pytest.mark.parametrize("enum", ENUMS)
def test_an_enum_has_the_seeds_members_in_their_order(enum: str) -> None:
    members = list(getattr(swarm_persistence, enum))

    assert [member.name for member in members] == [name.upper() for name in ENUMS[enum]]
    assert [member.value for member in members] == [name.lower() for name in ENUMS[enum]]


@pytest.mark.parametrize(("text", "variant"), ERRORS)
def test_an_error_has_the_seeds_name_and_text(text: str, variant: str) -> None:
    error: type[StorageError] = getattr(swarm_persistence, f"{variant}Error")

    assert issubclass(error, StorageError)
    assert str(error("why")) == f"{text}: why"


def test_the_settings_have_the_seeds_defaults() -> None:
    settings = SqliteStorage.builder()._settings

    assert "Default pool size: 16 connections" in REFERENCE
    assert settings.max_connections == 16
    assert settings.connection_timeout == 30
    assert TaskModel.new("t", None, TaskPriority.LOW).max_retries == 3


class TestModels:
    @pytest.mark.parametrize(
        "record",
        [
            AgentModel.new("worker-001", "researcher", ["analysis", "data-processing"]),
            TaskModel.new("analyze-data", {"dataset": "sales_data.csv"}, TaskPriority.HIGH),
            EventModel.new("task_completed", {"task_id": "task-123", "duration_ms": 5000}),
            MessageModel.new("coordinator", "worker-001", "task_assignment", {"task_id": "task-123"}),
        ],
        ids=lambda record: type(record).__name__,
    )
    def test_a_new_record_has_an_id_of_its_own_and_the_present_time(self, record: Any) -> None:
        again = type(record)(**{field: getattr(record, field) for field in record.__struct_fields__ if field != "id"})
        times = [value for value in msgspec.structs.asdict(record).values() if isinstance(value, datetime)]

        assert again.id != record.id
        assert times
        assert all(abs(datetime.now(UTC) - time) < timedelta(hours=1) for time in times)

    def test_a_heartbeat_and_a_status_change_updated_at(self) -> None:
        agent = AgentModel.new("a", "b", [])
        agent.updated_at = agent.heartbeat = datetime(2000, 1, 1, tzinfo=UTC)

        agent.update_heartbeat()
        assert agent.heartbeat == agent.updated_at > datetime(2000, 1, 1, tzinfo=UTC)
        agent.updated_at = datetime(2000, 1, 1, tzinfo=UTC)
        agent.set_status(AgentStatus.BUSY)

        assert (agent.status, agent.updated_at.year > 2000) == (AgentStatus.BUSY, True)

    def test_an_event_is_given_its_agent(self) -> None:
        assert EventModel.new("agent_started", {}).with_agent("agent-123").agent_id == "agent-123"


class TestQueryBuilder:
    def test_the_seeds_spelling_builds_the_seeds_example(self) -> None:
        built = (
            QueryBuilder[AgentModel]
            .new("agents")
            .where_eq("status", "active")
            .where_like("agent_type", "worker%")
            .order_by("created_at", True)
            .limit(50)
            .build()
        )

        query, parameters = re.findall(r"^// (?:Generated SQL: |Parameters: \[)(.*?)\]?$", REFERENCE, re.M)
        assert built == (query.strip('"'), re.findall(r'"(.*?)"', parameters))

    @pytest.mark.parametrize("model", STRUCTS)
    def test_the_name_of_a_table_stands_for_its_model(self, model: str) -> None:
        table = f"{model.removesuffix('Model').lower()}s"
        kind = getattr(swarm_persistence, model)

        assert QueryBuilder[Any](table).query == QueryBuilder(kind).query == QueryBuilder.new(table).query

    @pytest.mark.parametrize("name", ["agent", "", "task_links", "agents; DROP TABLE agents"])
    def test_another_name_is_refused_with_the_known_ones(self, name: str) -> None:
        with pytest.raises(swarm_persistence.InvalidQueryError, match="the tables are agents, tasks, events"):
            QueryBuilder.new(name)


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    """Give a storage, opened in the seed's spelling."""
    opened: Storage = (
        MemoryStorage.new() if request.param == "memory" else await SqliteStorage.new(str(tmp_path / "swarm.db"))
    )
    async with opened:
        yield opened


class TestPromises:
    async def test_what_is_missing_is_none_and_what_is_updated_must_be_there(self, storage: Storage) -> None:
        assert await storage.get_agent("agent-123") is None
        assert await storage.get_task("task-123") is None
        with pytest.raises(NotFoundError):
            await storage.update_agent(AgentModel.new("a", "b", []))

    async def test_agents_are_listed_by_status(self, storage: Storage) -> None:
        agent = AgentModel.new("worker-001", "researcher", ["analysis"])
        await storage.store_agent(agent)
        assert await storage.get_agent(agent.id) == agent
        agent.status = AgentStatus.ACTIVE
        await storage.update_agent(agent)

        assert await storage.list_agents() == await storage.list_agents_by_status("active") == [agent]
        assert await storage.list_agents_by_status("busy") == []
        await storage.delete_agent(agent.id)
        assert await storage.list_agents() == []

    async def test_one_of_two_claims_and_then_it_is_no_longer_pending(self, storage: Storage) -> None:
        task = TaskModel.new("analyze-data", {}, TaskPriority.HIGH)
        await storage.store_task(task)
        assert ids(await storage.get_pending_tasks()) == [task.id]

        claims = await asyncio.gather(*(storage.claim_task(task.id, agent) for agent in ("agent-1", "agent-2")))

        assert sorted(claims) == [False, True]
        assert await storage.get_pending_tasks() == []
        holder = "agent-1" if claims[0] else "agent-2"
        (held,) = await storage.get_tasks_by_agent(holder)
        assert held.status is TaskStatus.ASSIGNED
        held.complete({"rows": 3})
        await storage.update_task(held)
        assert await storage.get_task(task.id) == held

    async def test_events_messages_and_metrics_are_found(self, storage: Storage) -> None:
        event = EventModel.new("started", {}).with_agent("a")
        message = MessageModel.new("a", "b", "m", {})
        metric = MetricModel.new("cpu", 0.5, "%").with_agent("a")
        await storage.store_event(event)
        await storage.store_message(message)
        await storage.store_metric(metric)

        assert await storage.get_events_by_agent("a", 10) == await storage.get_events_by_type("started", 10) == [event]
        assert await storage.get_events_since(int(event.timestamp.timestamp())) == [event]
        assert await storage.get_messages_between("b", "a", 10) == await storage.get_unread_messages("b") == [message]
        await storage.mark_message_read(message.id)
        assert await storage.get_unread_messages("b") == []
        assert await storage.get_metrics_by_agent("a", "cpu") == [metric]
        now = int(metric.timestamp.timestamp())
        (aggregate,) = await storage.get_aggregated_metrics("cpu", now, now)
        assert (aggregate.value, aggregate.unit) == (0.5, "%")

    async def test_a_transaction_holds_all_operations_or_none(self, storage: Storage) -> None:
        transaction = await storage.begin_transaction()
        await storage.store_task(TaskModel.new("one", {}, TaskPriority.LOW))
        await transaction.rollback()
        assert await storage.get_pending_tasks() == []

        transaction = await storage.begin_transaction()
        for name in ("one", "two"):
            await storage.store_task(TaskModel.new(name, {}, TaskPriority.LOW))
        await transaction.commit()
        assert len(await storage.get_pending_tasks()) == 2

    async def test_a_repository_finds_saves_updates_deletes_and_queries(self, storage: Storage) -> None:
        agents = storage.repository(AgentModel)
        agent = AgentModel.new("a", "worker-1", [])
        await agents.save(agent)
        agent.name = "b"
        await agents.update(agent)

        assert await agents.find_by_id(agent.id) == agent
        assert await agents.find_all() == [agent]
        builder = QueryBuilder[AgentModel]("agents").where_like("agent_type", "worker%").where_gt("created_at", 0)
        assert await agents.query(builder.offset(0)) == [agent]
        await agents.delete(agent.id)
        assert await agents.find_by_id(agent.id) is None

    async def test_it_can_be_maintained_and_measured(self, storage: Storage) -> None:
        await storage.store_event(EventModel.new("e", "x" * 1000))

        await storage.vacuum()
        await storage.checkpoint()

        assert await storage.get_storage_size() > 1000

    async def test_many_tasks_share_one_storage(self, storage: Storage) -> None:
        await asyncio.gather(*(storage.store_agent(AgentModel.new(str(n), "t", [])) for n in range(100)))

        assert len(await storage.list_agents()) == 100


class TestStorages:
    async def test_the_builder_opens_what_it_was_told(self, tmp_path: Path) -> None:
        builder = SqliteStorage.builder().max_connections(32).min_idle_connections(4)

        async with await builder.connection_timeout(30).idle_timeout(600).build(str(tmp_path / "p.db")) as storage:
            assert await storage.list_agents() == []

    async def test_init_storage_opens_a_file_and_the_blocking_form_the_same(self, tmp_path: Path) -> None:
        path = str(tmp_path / "swarm.db")
        async with await init_storage(path) as storage:
            assert isinstance(storage, SqliteStorage)
            await storage.store_agent(AgentModel.new("a", "t", []))

        def look() -> None:
            with open_storage(path) as blocking:
                assert len(blocking.list_agents()) == 1
                assert blocking.repository(AgentModel).find_all() == blocking.list_agents()

        await asyncio.to_thread(look)

    async def test_it_is_opened_in_a_browser_only(self) -> None:
        with pytest.raises(DatabaseError, match="browser"):
            await WasmStorage.new()

    async def test_the_promised_queries_have_indexes(self, tmp_path: Path) -> None:
        path = tmp_path / "swarm.db"
        async with await SqliteStorage.new(path):
            pass
        connection = apsw.Connection(str(path))
        indexes = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")}
        connection.close()

        assert indexes >= {"agents_by_status", "tasks_pending", "events_by_time", "messages_unread_by_priority"}
