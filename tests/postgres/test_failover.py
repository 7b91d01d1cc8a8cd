"""A primary and a synchronous standby; the primary is killed under load, and the swarm goes on with the standby."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import pytest

from postgres.servers import PASSWORD, USER, Server, embedded_programs, free_port, new_folder, new_server
from swarm_persistence import (
    DatabaseError,
    OutcomeUnknownError,
    PoolError,
    PostgresStorage,
    StorageError,
    TaskModel,
    TaskStatus,
)
from swarm_persistence_conformance.records import a_task

WORKERS = 6
STORERS = 4


@contextmanager
def new_standby(primary: Server) -> Iterator[Server]:
    """Start a standby that the primary waits for at each commit."""
    with new_folder() as folder:
        standby = Server(primary.programs, folder, free_port())
        primary.allow_replication()
        standby.give_away()
        source = f"host=127.0.0.1 port={primary.port} user={USER} password={PASSWORD} application_name=standby"
        standby.run("pg_basebackup", "-D", str(standby.data), "-R", "-X", "stream", "-c", "fast", "-d", source)
        standby.configure({"port": str(standby.port)})
        standby.start()
        try:
            yield standby
        finally:
            if standby.is_running:
                standby.stop("immediate")


@pytest.fixture
def pair() -> Iterator[tuple[Server, Server]]:
    """Give a primary and its synchronous standby, both durable."""
    with new_server(embedded_programs(), is_durable=True) as primary, new_standby(primary) as standby:
        primary.configure({"synchronous_standby_names": "standby", "synchronous_commit": "on"})
        primary.reload()
        yield primary, standby


class Swarm:
    """Storers and workers, and what they were told."""

    def __init__(self, storage: PostgresStorage) -> None:
        self.storage = storage
        self.acknowledged: set[str] = set()
        self.claimed: Counter[str] = Counter()
        self.owners: dict[str, str] = {}
        self.unknown = 0
        self.is_over = False
        self.progress = asyncio.Condition()

    async def store(self, storer: int) -> None:
        """Store tasks until it is over; what was acknowledged must last."""
        number = 0
        while not self.is_over:
            number += 1
            task = a_task(f"{storer}-{number}")
            try:
                await self.storage.store_task(task)
            except StorageError as error:
                self.require_passing(error)
                continue
            self.acknowledged.add(task.id)
            await self.tell()

    async def work(self, worker: int) -> None:
        """Claim tasks until it is over; each belongs to one worker."""
        name = f"worker-{worker}"
        while not self.is_over:
            try:
                task = await self.storage.claim_next_task(name, lease=600)
            except StorageError as error:
                self.require_passing(error)
                continue
            if task is None:
                await asyncio.sleep(0.001)
                continue
            self.claimed[task.id] += 1
            self.owners[task.id] = name
            await self.tell()

    def require_passing(self, error: StorageError) -> None:
        """Accept what a failover may raise, and nothing else."""
        assert isinstance(error, DatabaseError | PoolError), error
        self.unknown += isinstance(error, OutcomeUnknownError)

    async def tell(self) -> None:
        async with self.progress:
            self.progress.notify_all()

    async def has_gone_on(self, count: int) -> None:
        """Return once so many more tasks are stored and claimed."""
        stored, claimed = len(self.acknowledged) + count, len(self.owners) + count
        async with self.progress:
            await self.progress.wait_for(lambda: len(self.acknowledged) >= stored and len(self.owners) >= claimed)


@pytest.mark.parametrize("names", [["swarm"], ["swarm", "acme"]], ids=["one schema", "two schemas of one storage"])
async def test_no_acknowledged_write_is_lost_and_no_task_owned_twice_when_the_primary_dies(
    pair: tuple[Server, Server], names: list[str]
) -> None:
    primary, standby = pair
    url = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/postgres?connection_timeout=60"
    async with await PostgresStorage.open(url) as storage:
        swarms = [Swarm(storage if name == "swarm" else storage.schema(name)) for name in names]
        callers = [asyncio.create_task(swarm.store(number)) for swarm in swarms for number in range(STORERS)]
        callers += [asyncio.create_task(swarm.work(number)) for swarm in swarms for number in range(WORKERS)]
        await asyncio.wait_for(asyncio.gather(*(swarm.has_gone_on(100) for swarm in swarms)), 60)

        primary.kill()
        await asyncio.to_thread(standby.promote)

        await asyncio.wait_for(asyncio.gather(*(swarm.has_gone_on(100) for swarm in swarms)), 60)
        for swarm in swarms:
            swarm.is_over = True
        await asyncio.wait_for(asyncio.gather(*callers), 60)

        for swarm in swarms:
            await assert_kept(swarm)


async def assert_kept(swarm: Swarm) -> None:
    """Fail unless the swarm's schema holds all that was acknowledged there, and each task has its one owner."""
    tasks = {task.id: task for task in await swarm.storage.repository(TaskModel).find_all()}
    assert swarm.acknowledged <= tasks.keys()
    assert set(swarm.claimed.values()) == {1}
    for id, owner in swarm.owners.items():
        assert (tasks[id].status, tasks[id].assigned_to) == (TaskStatus.ASSIGNED, owner)


async def test_of_several_hosts_the_one_that_takes_writes_is_used(pair: tuple[Server, Server]) -> None:
    primary, standby = pair
    url = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{standby.port},127.0.0.1:{primary.port}/postgres"

    async with await PostgresStorage.open(url) as storage:
        await storage.store_task(a_task())

    connection = await asyncpg.connect(primary.url())
    stored = await connection.fetchval("SELECT count(*) FROM swarm.tasks")
    await connection.close()
    assert stored == 1


async def test_a_standby_alone_is_refused_by_name(pair: tuple[Server, Server]) -> None:
    _, standby = pair

    with pytest.raises(StorageError, match=f"127.0.0.1:{standby.port}.*standby"):
        await PostgresStorage.open(standby.url(target_session_attrs="read-write", connection_timeout="0.5"))


async def test_a_primary_that_hangs_is_given_up_for_the_standby(pair: tuple[Server, Server]) -> None:
    primary, standby = pair
    hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
    url = f"postgresql://{USER}:{PASSWORD}@{hosts}/postgres?connection_timeout=10&operation_timeout=2"
    async with await PostgresStorage.open(url) as storage:
        await asyncio.gather(*(storage.claim_task(str(number), "agent-1") for number in range(50)))
        primary.pause()
        try:
            await asyncio.to_thread(standby.promote)

            await storage.store_task(a_task("1"))  # none of the idle connections to the other one is tried after it
            await asyncio.gather(*(storage.claim_task(str(number), "agent-1") for number in range(1, 20)))
        finally:
            primary.resume()

        task = await storage.get_task("1")
        assert task is not None
        assert task.assigned_to == "agent-1"
