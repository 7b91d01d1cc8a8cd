"""A small swarm in a web page: its agents claim tasks from the browser's own database, and the page shows them live.

`Swarm` would run on SQLite as it is: only `Page` knows that it is in a browser.
"""

import asyncio
import json

from swarm_persistence import AgentModel, AgentStatus, EventModel, Storage, TaskModel, TaskStatus, init_storage

SENTENCE = "the memory of a swarm outlives the page that it runs in, and every tab sees the same tasks"
WORDS = SENTENCE.replace(",", "").split()
LEASE_SECONDS = 10.0


class Swarm:
    """The agents of this page, on a storage that other pages may share."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._working: list[tuple[AgentModel, asyncio.Task[None]]] = []

    async def add_tasks(self, number: int) -> None:
        """Store tasks to do, each with a word to turn round."""
        words = [WORDS[place % len(WORDS)] for place in range(number)]
        await self.storage.store_many([TaskModel.new("reverse", {"word": word}) for word in words])

    async def start(self, names: list[str], pace: float) -> None:
        """Let agents of these names work, each at this pace, until `stop`."""
        for name in names:
            agent = AgentModel.new(name, "reverser", ["reverse"])
            await self.storage.store_agent(agent)
            self._working.append((agent, asyncio.create_task(self._work(agent, pace))))

    async def stop(self) -> None:
        """Let the agents go; what they hold comes back when its lease has run out."""
        stopped, self._working = self._working, []
        for _, work in stopped:
            work.cancel()
        await asyncio.gather(*(work for _, work in stopped), return_exceptions=True)
        for agent, _ in stopped:
            await self._tell(agent, AgentStatus.SHUTDOWN, "stopped", f"{agent.name} has stopped")

    async def _work(self, agent: AgentModel, pace: float) -> None:
        while True:
            await self.storage.requeue_expired_tasks()
            task = await self.storage.claim_next_task(agent.id, lease=LEASE_SECONDS, wait=5.0)
            if task is None:
                continue
            word = task.payload["word"]
            await self._tell(agent, AgentStatus.BUSY, "begun", f"{agent.name}: {word}")
            await asyncio.sleep(pace)  # the work itself
            async with self.storage.transaction():
                await self.storage.complete_task(task, {"word": word[::-1]})
                await self._tell(agent, AgentStatus.IDLE, "done", f"{agent.name}: {word} → {word[::-1]}")

    async def _tell(self, agent: AgentModel, status: AgentStatus, event_type: str, text: str) -> None:
        # In one transaction: a reader that sees the event sees the agent as it is after it.
        async with self.storage.transaction():
            agent.set_status(status)
            await self.storage.update_agent(agent, force=True)
            await self.storage.store_event(EventModel.new(event_type, text))


class Page:
    """What the page shows, and what its buttons do."""

    def __init__(self, storage: Storage) -> None:
        self.swarm = Swarm(storage)
        self._storage = storage
        self._tasks: dict[str, TaskModel] = {}
        self._has_changed = asyncio.Event()
        self._running = [
            asyncio.create_task(each) for each in (self._keep_showing(), self._watch_tasks(), self._watch_events())
        ]

    async def _keep_showing(self) -> None:
        while True:
            self._has_changed.clear()
            await self._show()
            await self._has_changed.wait()

    async def _watch_tasks(self) -> None:
        # First the tasks as they are, then every change, in whatever tab it is made.
        async for task in self._storage.watch_tasks():
            self._tasks[task.id] = task
            self._has_changed.set()

    async def _watch_events(self) -> None:
        # Whatever an agent does comes with an event.
        async for _ in self._storage.watch_events():
            self._has_changed.set()

    async def _show(self) -> None:
        from js import show  # type: ignore[import-not-found]

        agents = await self._storage.list_agents()
        names = {agent.id: agent.name for agent in agents}
        tasks = list(self._tasks.values())
        events = await self._storage.get_events_by_type("done", 8)
        counts = {status.value: sum(task.status is status for task in tasks) for status in TaskStatus}
        picture = {
            "counts": counts,
            "tasks": [
                [task.status.value, task.payload["word"], names.get(task.assigned_to or "", "")] for task in tasks
            ],
            "agents": [[agent.name, agent.status.value] for agent in reversed(agents)],
            "events": [event.data for event in events],
            "bytes": await self._storage.get_storage_size(),
        }
        show(json.dumps(picture))


_pages: list[Page] = []


async def open_page() -> None:
    """Open the browser's own database, and show what is in it."""
    _pages.append(Page(await init_storage()))


async def add_tasks(number: int) -> None:
    """Add tasks to the queue."""
    await _pages[0].swarm.add_tasks(number)


async def start_agents(names: list[str], pace: float) -> None:
    """Start agents in this page."""
    await _pages[0].swarm.start(names, pace)


async def stop_agents() -> None:
    """Stop the agents of this page."""
    await _pages[0].swarm.stop()
