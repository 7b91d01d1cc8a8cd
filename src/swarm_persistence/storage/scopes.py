"""Transaction scopes: which transaction a call joins, when it is doomed, and how it ends.

A context variable binds a scope to the asyncio task that began it, and to every task started from there. The scope is
bound and unbound when `begin_transaction`, `commit` and `rollback` are *called*, not when they are awaited, because
`asyncio.wait_for` awaits in a separate task on Python 3.11.
"""

import asyncio
import os
import sys
import warnings
import weakref
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from enum import Enum
from typing import Any, TypeVar

from swarm_persistence.engines.interface import Engine, Session
from swarm_persistence.engines.reads import Read
from swarm_persistence.engines.runtime import running_loop, thread_id
from swarm_persistence.engines.steps import Step
from swarm_persistence.errors import DatabaseError, PoolError, TransactionError
from swarm_persistence.models import Model
from swarm_persistence.storage.call_lock import CallLock

T = TypeVar("T")


class _State(Enum):
    OPENING = "opening"
    OPEN = "open"
    OVER = "over"
    DROPPED = "dropped"


_DOOMING = (DatabaseError, PoolError, TransactionError, asyncio.CancelledError)


class Scope:
    """One level of an open transaction: the outermost, or a savepoint. Runs the operations that join it."""

    def __init__(self, owner: object, engine: Engine) -> None:
        """Bind the new scope to the calling context and its copies: their calls join it once it is open."""
        self.owner = owner
        self.parent = find_scope(owner)
        self.ending = ""
        """Why the scope ended, unless a caller ended it."""
        self._engine = engine
        self._state = _State.OPENING
        self._failure: BaseException | None = None
        self._one_at_a_time = CallLock()
        self._undo: list[Callable[[], None]] = []
        self._if_undelivered: list[Callable[[], None]] = []
        self._session: Session
        self._depth: int = 0 if self.parent is None else self.parent._depth + 1
        self._savepoint = f"level_{self._depth}"
        self._task = _current_task()
        self._thread = thread_id()
        self._tasks_at_end: weakref.WeakSet[asyncio.Task[Any]] | None = None
        """The tasks that ran when another task, or thread, ended it: only these can have been started inside it."""
        self._cancellations = 0 if self._task is None else self._task.cancelling()
        self._loop: asyncio.AbstractEventLoop
        self._nested: Scope | None = None
        self._process = os.getpid()
        binding = _Binding(self, _skip_gone(_innermost.get()))
        # Only contexts reference the binding: it dies with them, for example when a thread's call returns.
        self._binding = weakref.ref(binding)
        _innermost.set(binding)

    @property
    def is_open(self) -> bool:
        """Whether operations can still join the scope."""
        return self._state is _State.OPEN

    @property
    def is_visible(self) -> bool:
        """Whether a call in this context concerns the scope."""
        if self._state is not _State.OVER:
            return self._state is _State.OPEN
        # Once the scope is over, only other tasks of its context still see it: they must not write outside of it.
        call = _current_call()
        return call is not self._task and (self._tasks_at_end is None or call in self._tasks_at_end)

    @property
    def is_gone(self) -> bool:
        """Whether no further call in this context can concern the scope."""
        return self._state is _State.DROPPED or (self._state is _State.OVER and not self.is_visible)

    @property
    def is_inherited(self) -> bool:
        """Whether the transaction belongs to the parent process, before a fork."""
        return self._process != os.getpid()

    async def begin(self) -> None:
        """Acquire the write lock, or the enclosing scope, and open."""
        self._loop = running_loop()
        try:
            if self.parent is None:
                self._session = await self._engine.begin()
            else:
                self._session = self.parent._session
                await self.parent._acquire_for_nested(lambda: self._session.savepoint(self._savepoint))
                self.parent._nested = self
        except BaseException:
            self._state = _State.DROPPED
            raise
        self._state = _State.OPEN
        if self._task is not None:
            self._task.add_done_callback(self._on_task_done)

    async def commit(self) -> None:
        """Commit the scope; a doomed scope is rolled back and raises `TransactionError`."""
        if self._nested is not None:
            self._failure = self._failure or TransactionError(
                "a nested transaction was still open, so this one was rolled back; end the nested one first"
            )
        if self._task is not None and self._task.cancelling() > self._cancellations:
            self._failure = self._failure or TransactionError(
                "the task was cancelled inside the transaction and went on, so it was rolled back; "
                "let CancelledError pass, or call uncancel() where it is meant to end"
            )
        failure = self._failure or self._session.failure
        if failure is not None:
            await self.rollback()
            raise _doomed(failure) from failure
        self._end()
        if self.parent is None:
            try:
                await self._session.commit()
            except Exception:
                self._undo_objects()
                raise
            except BaseException:
                for action in self._if_undelivered:
                    action()
                raise
            return
        try:
            await self._session.release(self._savepoint)
            self.parent._undo += self._undo
            self.parent._if_undelivered += self._if_undelivered
        except BaseException as error:
            self.parent._failure = self.parent._failure or error
            raise
        finally:
            self.parent._release_nested()

    async def rollback(self) -> None:
        """Roll the scope back."""
        self._end()
        self._undo_objects()
        if self.parent is None:
            await self._session.rollback()
            return
        try:
            if self._session.failure is None:
                await self._session.rollback_to(self._savepoint)
        except BaseException as error:
            self.parent._failure = self.parent._failure or error
            raise
        finally:
            self.parent._release_nested()

    @property
    def is_rolled_back(self) -> bool:
        """Whether it is rolled back, or will be, because its task ended without commit or rollback."""
        return bool(self.ending) or (self.is_open and self._task is not None and self._task.done())

    @property
    def is_unreachable(self) -> bool:
        """Whether it is open, but no context remains whose calls could join it."""
        return self.is_open and self._binding() is None

    def drop(self, reason: str) -> None:
        """Roll back without waiting, and warn; from any thread. The scopes around it are rolled back as well."""
        if self._state is not _State.OPEN or self.is_inherited:
            return
        self._state = _State.DROPPED
        self.ending = reason
        self._undo_objects()
        # At the interpreter's end, the other threads have stopped for good, with the locks that they hold.
        if not sys.is_finalizing():
            self._session.abandon()
        if self.parent is not None:
            self.parent._failure = self.parent._failure or TransactionError(
                f"a nested transaction {reason} without commit or rollback, which rolled all of it back"
            )
            with suppress(RuntimeError):  # the loop is closed, so no call waits
                self._loop.call_soon_threadsafe(self.parent._release_nested)
        message = f"A transaction {reason} without commit or rollback; it was rolled back."
        warnings.warn(message, ResourceWarning, stacklevel=2, source=self)

    def unbind(self) -> None:
        """Unbind the scope from this context, as its end is called here."""
        if _current_task() is not self._task or (self._task is None and self._thread != thread_id()):
            # The context that began it stays bound: tasks that it starts from now on are not inside the transaction.
            self._tasks_at_end = weakref.WeakSet(asyncio.all_tasks(self._loop))
        inner = _innermost.get()
        if inner is not None and inner.scope is self:
            _innermost.set(inner.outer)
            return
        # Transactions of two storages may end in any order: remove it from the middle of the chain.
        while inner is not None:
            outer = inner.outer
            if outer is not None and outer.scope is self:
                inner.outer = outer.outer
                return
            inner = outer

    def remember(self, model: Model, fields: Iterable[str]) -> None:
        """Restore the present values of these fields if the scope is rolled back."""
        values = [(field, getattr(model, field)) for field in fields]

        def restore() -> None:
            for field, value in values:
                setattr(model, field, value)

        self._undo.append(restore)

    def if_undelivered(self, action: Callable[[], None]) -> None:
        """Call `action` if the outermost commit is cancelled before its caller learns the outcome."""
        self._if_undelivered.append(action)

    async def write(self, steps: Sequence[Step]) -> list[Any]:
        return await self._run(lambda: self._session.write(steps))

    async def read(self, read: Read[T]) -> T:
        return await self._run(lambda: self._session.read(read))

    async def _run(self, operation: Callable[[], Awaitable[T]]) -> T:
        self._require_open()
        async with self._one_at_a_time:
            self._require_open()
            try:
                return await operation()
            except _DOOMING as error:
                self._failure = self._failure or error
                raise

    async def _acquire_for_nested(self, savepoint: Callable[[], Awaitable[None]]) -> None:
        """Acquire the lock for a nested scope, which releases it when it ends."""
        await self._one_at_a_time.acquire()
        try:
            self._require_open()
            await savepoint()
        except BaseException as error:
            if isinstance(error, _DOOMING):
                self._failure = self._failure or error
            self._one_at_a_time.release()
            raise

    def _release_nested(self) -> None:
        """Release the lock of a nested scope that has ended."""
        if self._nested is not None:
            self._nested = None
            self._one_at_a_time.release()

    def _require_open(self) -> None:
        if self._state is not _State.OPEN:
            raise TransactionError(
                "this code runs in a task that was started inside a transaction, and the transaction is over; "
                "start the task outside of it, or await the task before the transaction ends"
            )
        failure = self._failure or self._session.failure
        if failure is not None:
            raise _doomed(failure) from failure

    def _end(self) -> None:
        self._state = _State.OVER
        if self._task is not None:
            self._task.remove_done_callback(self._on_task_done)
        if self._nested is not None:
            # A nested scope ends with this one, and callers that wait for it must be woken.
            self._nested._end()
            self._nested._undo_objects()
            # Its context may never unbind it, and a scope that was ended from outside must not capture later calls.
            self._nested._state = _State.DROPPED
            self._release_nested()

    def _undo_objects(self) -> None:
        while self._undo:
            self._undo.pop()()

    def drop_if_outlived(self) -> None:
        """Roll back at once if the task that began it has ended, without waiting for the done callback."""
        if not self.ending:
            self._on_task_done(None)

    def _on_task_done(self, _task: object) -> None:
        self.drop("outlived the task that began it")
        self._task = None  # its result may be the transaction object: a reference cycle


class _Binding:
    """Links a context to its innermost scope, and to the binding of the scope around it."""

    __slots__ = ("__weakref__", "outer", "scope")

    def __init__(self, scope: Scope, outer: "_Binding | None") -> None:
        self.scope = scope
        self.outer = outer


_innermost: ContextVar[_Binding | None] = ContextVar("swarm_persistence_transaction", default=None)


innermost_scope = _innermost.get
"""Return the binding of the innermost scope of any storage in this context, usually `None`."""


def find_scope(owner: object) -> Scope | None:
    """Return the scope of this storage that calls of this context join, or `None`."""
    binding = _innermost.get()
    while binding is not None and not (binding.scope.owner is owner and binding.scope.is_visible):
        binding = binding.outer
    if binding is None:
        if (inner := _innermost.get()) is not None:
            _innermost.set(_skip_gone(inner))
        return None
    return binding.scope


def _skip_gone(binding: _Binding | None) -> _Binding | None:
    """Return the innermost binding that can still concern a call, so that ended scopes do not pile up in a context."""
    while binding is not None and binding.scope.is_gone:
        binding = binding.outer
    return binding


def _doomed(failure: BaseException) -> TransactionError:
    if isinstance(failure, TransactionError):
        return type(failure)(failure.message)
    return TransactionError(
        f"an earlier error has doomed the transaction: {str(failure) or type(failure).__name__}; roll it back. "
        "To survive an error, put what may fail into a nested transaction()"
    )


def _current_task() -> "asyncio.Task[Any] | None":
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _current_call() -> object:
    """Return the running task, or the loop of a thread's call, which has no task until it waits."""
    try:
        return asyncio.current_task() or asyncio.get_running_loop()
    except RuntimeError:
        return None
