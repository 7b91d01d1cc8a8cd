"""A caller: asks for one write after the other, and keeps a history of what it was told."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from swarm_persistence import AgentModel, MessageModel, Model, OutcomeUnknownError, StorageError, TaskModel
from torture.fresh import FreshRecords
from torture.history import Answer, History, RecordedWrite, State, moments

_TIMEOUT_SECONDS = 30.0


class HangError(AssertionError):
    """A call has not come back for half a minute."""


class ForeignError(AssertionError):
    """A call has raised something other than a `StorageError`."""


class Caller:
    """What it was told is kept in `history`. It leaves alone what may or may not be stored after an error."""

    def __init__(
        self, name: str, rng: random.Random, is_over: Callable[[], bool], tell: Callable[[int, RecordedWrite], None]
    ) -> None:
        self.history = History(name)
        self._name = name
        self._rng = rng
        self._is_over = is_over
        self._tell = tell
        self._fresh = FreshRecords(name, rng)
        self._pending: dict[str, TaskModel] = {}
        self._held: dict[str, TaskModel] = {}
        self._agents: dict[str, AgentModel] = {}
        self._unread: dict[str, MessageModel] = {}
        self._left_alone: dict[str, TaskModel] = {}

    async def _do(
        self,
        name: str,
        outcomes: Sequence[State],
        way: Callable[[], Awaitable[Any]],
        final: Callable[[], State],
        *,
        is_atomic: bool = True,
    ) -> bool:
        """Do one write, and tell whether it was acknowledged."""
        write = RecordedWrite(name, list(outcomes), next(moments), is_atomic)
        number = len(self.history.writes)
        self.history.writes.append(write)
        self._tell(number, write)
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await way()
        except StorageError as error:
            write.error = error
            write.answer = Answer.UNKNOWN if isinstance(error, OutcomeUnknownError) else Answer.REFUSED
            self._tell(number, write)
            self._fresh.change_task_type()  # a claim must not find a task of which it is not known whether it is stored
            for _, id in write.keys:
                for pool in (self._pending, self._held, self._agents, self._unread):
                    record = pool.pop(id, None)
                    if isinstance(record, TaskModel):
                        self._left_alone[id] = record
            return False
        except TimeoutError:
            raise HangError(f"{self._name}: {name} has not come back") from None
        except Exception as error:
            raise ForeignError(f"{self._name}: {name} raised {error!r}") from error
        if self._is_over():
            return False
        write.outcomes = [final()]
        write.answer = Answer.STORED
        write.answered_at = next(moments)
        self._tell(number, write)
        return True

    def _keep(self, records: Sequence[Model]) -> None:
        for record in records:
            if isinstance(record, TaskModel):
                self._pending[record.id] = record
            elif isinstance(record, AgentModel):
                self._agents[record.id] = record
            elif isinstance(record, MessageModel):
                self._unread[record.id] = record

    def _forget(self, tasks: dict[str, TaskModel]) -> None:
        for id in tasks:
            self._pending.pop(id, None)


def discard(_number: int, _write: RecordedWrite) -> None:
    """Keep what was told in the caller's own history only."""
