"""Chooses the next tasks where limits, capabilities or ageing decide: from the first of each type and requirement."""

import random
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from swarm_persistence.clock import now_in_microseconds
from swarm_persistence.engines.interface import Executor
from swarm_persistence.engines.reads import FirstOfEach, Get, Values
from swarm_persistence.models import TaskLimit, TaskPriority
from swarm_persistence.models.collections import collection_of
from swarm_persistence.query.query import Condition, Order, Query
from swarm_persistence.schema.tables import AGENTS, SEQUENCE, TASKS
from swarm_persistence.storage.claim_requests import BY_CAPABILITIES, ClaimRequest
from swarm_persistence.storage.task_limits import Room, room_of
from swarm_persistence.storage.tasks import IS_READY, MOST_URGENT_FIRST

_REQUIRES_NONE = Condition("required_capabilities", "IS NULL")
_BY_TYPE = Order("task_type", is_of_beginning=True)
_BY_KEY = Order("concurrency_key", is_of_beginning=True)

_FIELDS = ("id", "priority", SEQUENCE, "task_type", "concurrency_key", "created_at", "run_at")
_KEY = _FIELDS.index("concurrency_key")
_LEVELS = range(len(TaskPriority))
_FEW = 50
"""How many of the first tasks of a type are examined to find one whose key is not full."""
_MANY = 500
"""How many are examined to find one without a key, if all of these keys are full."""
_MOST_KEYS = 64
"""How many keys with room are compared then, at most."""
_ALL = 2**31


class Candidate(NamedTuple):
    """A task that may be claimed; they sort by urgency."""

    lack_of_urgency: int
    sequence: int
    id: str
    task_type: str


class _Lane(NamedTuple):
    """A set of tasks whose first an index finds: of one type, one requirement and, with ageing, one priority."""

    task_type: str
    conditions: tuple[Condition, ...]


class ClaimChoice:
    """The choice of one claim; `limits` are those in force."""

    def __init__(
        self,
        executor: Executor,
        request: ClaimRequest,
        limits: dict[str, TaskLimit],
        others: tuple[Condition, ...] = (),
    ) -> None:
        self._executor = executor
        self._request = request
        self._limits = limits
        self._others = others
        self._rooms: dict[str, Room] = {}
        self.is_any_required = False
        """Whether a ready task requires capabilities; set with the candidates."""

    @property
    def next_start(self) -> int | None:
        """Return the time at which a limit will let a task start, in microseconds, if that is known."""
        return min((room.next_start for room in self._rooms.values() if room.next_start is not None), default=None)

    async def candidates(self) -> list[Candidate]:
        """Return the tasks to claim, the most urgent first."""
        requirements = await self._fitting_requirements()
        rows: list[Any] = []
        for task_type in await self._types():
            room = await self._room(task_type)
            if room is not None and room.is_empty:
                continue
            for lane in self._lanes(task_type, requirements):
                rows += await self._first_of(lane, room)
        present = now_in_microseconds()
        ranked = sorted((self._candidate(row, present), row[_KEY]) for row in rows)
        chosen: list[Candidate] = []
        for candidate, key in ranked:
            room = self._rooms.get(candidate.task_type)
            if room is not None:
                if not room.has(key):
                    continue
                room.take(key)
            chosen.append(candidate)
            if len(chosen) == self._request.limit:
                break
        return chosen

    async def _fitting_requirements(self) -> list[Condition]:
        """Return a condition for each requirement of ready tasks that the agent fulfils, first the one for none."""
        order = (BY_CAPABILITIES, _BY_TYPE, *MOST_URGENT_FIRST)
        required = await self._first_of_each((), order, ("required_capabilities",))
        self.is_any_required = bool(required)
        if not required:
            return []
        capabilities = set(await self._capabilities())
        fitting = [text for (text,) in required if capabilities.issuperset(collection_of(text))]
        return [_REQUIRES_NONE, *(Condition("required_capabilities", "=", text) for text in fitting)]

    async def _capabilities(self) -> Iterable[str]:
        if self._request.capabilities is not None or not self._request.agent_id:
            return self._request.capabilities or ()
        agent = await self._executor.read(Get(AGENTS, self._request.agent_id))
        return () if agent is None else agent.capabilities

    async def _types(self) -> Sequence[str]:
        if self._request.types is not None:
            return self._request.types
        return [
            task_type for (task_type,) in await self._first_of_each((), (_BY_TYPE, *MOST_URGENT_FIRST), ("task_type",))
        ]

    async def _room(self, task_type: str) -> Room | None:
        limit = self._limits.get(task_type)
        if limit is None:
            return None
        room = self._rooms[task_type] = await room_of(self._executor, limit)
        return room

    def _lanes(self, task_type: str, requirements: Sequence[Condition]) -> list[_Lane]:
        of_type = (Condition("task_type", "=", task_type), *self._others)
        levels: list[tuple[Condition, ...]]
        levels = [()] if self._request.ageing is None else [(Condition("priority", "=", level),) for level in _LEVELS]
        needs: list[tuple[Condition, ...]] = [(each,) for each in requirements] or [()]
        return [_Lane(task_type, (*of_type, *need, *level)) for need in needs for level in levels]

    async def _first_of(self, lane: _Lane, room: Room | None) -> list[Any]:
        """Return the first rows of a lane that may be claimed, as many as are wanted."""
        limit = self._request.limit
        if room is None or not room.is_of_keys:
            return await self._rows(lane.conditions, limit)
        few = max(_FEW, 2 * limit)
        rows = await self._rows(lane.conditions, few)
        fitting = room.fitting(rows, _KEY, limit)
        if len(fitting) >= limit or len(rows) < few:
            return fitting
        known = {row[0] for row in fitting}
        fitting += [row for row in await self._first_of_keys(lane, room) if row[0] not in known]
        if len(fitting) < limit:
            known = {row[0] for row in fitting}
            many = await self._rows(lane.conditions, _MANY)
            fitting += [row for row in many if row[_KEY] is None and row[0] not in known]
        return fitting

    async def _first_of_keys(self, lane: _Lane, room: Room) -> list[Any]:
        """Return the first rows of keys with room, going once around all keys from a given one."""
        full = room.full_keys
        # Start at another key each time, so that none starves if there are many.
        start = random.choice(full) if full else None
        most = len(full) + _MOST_KEYS
        rows = await self._heads(lane, most, start)
        if start is not None and len(rows) < most:
            rows += await self._heads(lane, most)
        found = {row[0]: row for row in rows if room.has(row[_KEY])}
        return list(found.values())[:_MOST_KEYS]

    async def _heads(self, lane: _Lane, most: int, after: str | None = None) -> list[Any]:
        return await self._first_of_each(lane.conditions, (_BY_KEY, *MOST_URGENT_FIRST), _FIELDS, most, after)

    async def _first_of_each(
        self,
        conditions: tuple[Condition, ...],
        order: tuple[Order, ...],
        fields: tuple[str, ...],
        most: int = _ALL,
        after: str | None = None,
    ) -> list[Any]:
        query = Query(TASKS, (*IS_READY, *conditions), order, most)
        return list(await self._executor.read(FirstOfEach(query, fields, after)))

    async def _rows(self, conditions: tuple[Condition, ...], limit: int) -> list[Any]:
        query = Query(TASKS, (*IS_READY, *conditions), MOST_URGENT_FIRST, limit)
        return list(await self._executor.read(Values(query, _FIELDS)))

    def _candidate(self, row: Any, present: int) -> Candidate:
        id, priority, sequence, task_type, _, created_at, run_at = row
        if self._request.ageing is not None:
            waited = max(present - max(created_at, run_at or 0), 0)
            # The lowest first, as a tiny ageing makes the quotient infinite.
            priority = int(min(priority + waited / (self._request.ageing * 1_000_000), _LEVELS[-1]))
        return Candidate(-priority, sequence, id, task_type)
