"""The library itself, through its public calls."""

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from benchmarks.peers.peer import Concurrent, SwarmFile
from benchmarks.peers.statements import LISTED
from swarm_persistence import EventModel, MetricModel, Model, SqliteStorage, SqliteStorageBuilder, TaskModel


class Swarm(SwarmFile, Concurrent):
    """`SqliteStorage` with its defaults."""

    key: ClassVar[str] = "swarm"
    title: ClassVar[str] = "swarm-persistence"
    about: ClassVar[str] = "`SqliteStorage` with its default settings, through its public methods"
    verbs: ClassVar[frozenset[str]] = frozenset(
        {"insert", "get", "latest", "claim", "claim_next", "pending", "store_many", "write_ten", "aggregate"}
    )

    def __init__(self) -> None:
        self.storage: SqliteStorage

    async def open(self, path: str) -> None:
        """Open the file; the methods that need nothing between the suite and the storage are the storage's own."""
        self.use(await SqliteStorage.open(path))  # with checksums, if the file keeps them

    def use(self, storage: SqliteStorage) -> None:
        """Take an open storage."""
        self.storage = storage
        self.insert = self.storage.store_event
        self.get = self.storage.repository(EventModel).find_by_id
        self.store_many = self.storage.store_many

    async def close(self) -> None:
        """Close the storage."""
        await self.storage.close()

    async def latest(self, agent_id: str) -> list[EventModel]:
        """List an agent's newest events."""
        return await self.storage.get_events_by_agent(agent_id, LISTED)

    async def claim(self, claim: tuple[str, str]) -> bool:
        """Claim a task by its id."""
        return await self.storage.claim_task(*claim)

    async def claim_next(self, agent_id: str) -> TaskModel | None:
        """Claim the most urgent task."""
        return await self.storage.claim_next_task(agent_id)

    async def pending(self, _: object) -> list[TaskModel]:
        """List the waiting tasks."""
        return await self.storage.get_pending_tasks()

    async def write_ten(self, events: Sequence[EventModel]) -> None:
        """Store events in one transaction."""
        async with self.storage.transaction():
            for event in events:
                await self.storage.store_event(event)

    async def aggregate(self, span: tuple[str, datetime, datetime]) -> list[MetricModel]:
        """Aggregate metrics."""
        return await self.storage.get_aggregated_metrics(*span)


class ConfiguredSwarm(Swarm):
    """`SqliteStorage` with the settings of a builder; the suite knows it by the name of the one with its defaults."""

    def __init__(self, builder: SqliteStorageBuilder) -> None:
        super().__init__()
        self._builder = builder

    async def open(self, path: str) -> None:
        """Open the file."""
        self.use(await self._builder.build(path))


class SwarmChecksums(Swarm):
    """`SqliteStorage` with a checksum of each page: what they cost."""

    key: ClassVar[str] = "swarm-checksums"
    title: ClassVar[str] = "with checksums"
    about: ClassVar[str] = "the same with `checksums=True`"
    family: ClassVar[str] = "swarm-checksums"
    verbs: ClassVar[frozenset[str]] = frozenset({"insert", "get", "pending", "store_many"})

    async def fill(self, path: str, records: Sequence[Model]) -> None:
        """Make the file, with checksums."""
        await (await SqliteStorage.open(path, checksums=True)).close()
        await super().fill(path, records)
