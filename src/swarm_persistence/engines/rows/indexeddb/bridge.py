"""The way to JavaScript and back: transactions, locks and notices, each answered by a call of a Python function."""

import asyncio
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from itertools import count
from typing import Any, NamedTuple, Protocol

from swarm_persistence.engines.rows.indexeddb.failures import translate
from swarm_persistence.engines.rows.indexeddb.messages import NOTHING_MORE
from swarm_persistence.errors import DatabaseError

Answer = Callable[[str], str]
"""Takes what was fetched, and returns the next message; called while the transaction lives."""
Settled = Callable[[BaseException | None], None]

Opened = Callable[[str, str, BaseException | None], None]
"""Learns the name and the text of a failure to open, and what an upgrade raised; two empty texts if all went well."""


class OpenRequest(NamedTuple):
    """What to open: the database, its version and stores, and the first message of an upgrade."""

    name: str
    version: int
    stores: str
    durability: str
    message: str
    seconds: float


class DatabaseListener(Protocol):
    """Whoever wants to know what happens to the database."""

    def outdated(self) -> None:
        """A newer version of this code waits for us to close the database, to upgrade it."""
        ...

    def unwanted(self) -> None:
        """Another tab waits for us to close the database, to delete it."""
        ...

    def lost(self) -> None:
        """The browser has closed the database by itself."""
        ...

    def written(self, tables: str) -> None:
        """Another tab or worker has committed writes to these tables, separated by spaces."""
        ...


@cache
def script() -> Any:
    """Run the JavaScript beside this file, once, and return what it gives; `DatabaseError` where it cannot run."""
    try:
        from pyodide.code import run_js  # type: ignore[import-not-found]
    except ImportError as error:
        raise DatabaseError("IndexedDB is a browser's; this Python does not run in one") from error
    module = run_js(files(__package__).joinpath("bridge.js").read_text())
    missing = module.missing()
    if missing:
        raise DatabaseError(f"this browser, or this page, has no {missing}")
    return module


class Bridge:
    """One connection to one database."""

    def __init__(self, listener: DatabaseListener) -> None:
        self._listener = listener
        self._numbers = count(1)
        self._answers: dict[int, Answer] = {}
        self._settled: dict[int, Settled] = {}
        self._failures: dict[int, BaseException] = {}
        self._waiting: dict[int, Callable[[str], None]] = {}
        self._released: dict[int, Callable[[], None]] = {}
        self._ends: list[asyncio.Future[None]] = []
        self._connection: Any = None
        self._opened: Opened
        self._upgrade: Callable[[int, str], str]
        self._upgrade_failure: BaseException | None = None

    def open(self, opening: OpenRequest, upgrade: Callable[[int, str], str], opened: Opened) -> None:
        """Open the database, and call `upgrade` if it is older than the version asked for, or new."""
        self._upgrade = upgrade
        self._opened = opened
        name, version, stores, durability, message, seconds = opening
        self._connection = script().open(
            name, version, stores, durability, message, _milliseconds(seconds), self._callbacks()
        )

    def read(self, message: str, answer: Answer, settled: Settled) -> None:
        """Run a transaction that only reads: send the message, let `answer` go on, and tell when it wants no more.

        Raises `DatabaseError`, as `write` does.
        """

        def answer_and_end(text: str) -> str:
            reply = answer(text)
            if reply == NOTHING_MORE:
                self._forget(number)
                settled(None)
            return reply

        number = self._register(answer_and_end, settled)
        self._call(number, "transact", message, False, 0)

    def write(self, message: str, answer: Answer, settled: Settled, lock: int) -> None:
        """Run a transaction that writes, under a lock, and tell when it is committed."""
        self._call(self._register(answer, settled), "transact", message, True, lock)

    def flush(self, settled: Settled) -> None:
        """See to it that all that was committed is on the disk."""
        number = next(self._numbers)
        self._settled[number] = settled
        self._call(number, "flush")

    def lock(
        self, seconds: float, locked: Callable[[bool], None], released: Callable[[], None], *, is_exclusive: bool
    ) -> int:
        """Ask for the lock of the database, and return its number.

        `locked` learns whether it came in time, `released` that it was not used for a while, or by us for too long.
        Raises `DatabaseError` once the database is closed.
        """
        if self._connection is None:
            raise translate("InvalidStateError", "")
        number = next(self._numbers)
        self._waiting[number] = lambda failure: locked(not failure)
        self._released[number] = released
        self._connection.lock(number, is_exclusive, _milliseconds(seconds))
        return number

    def unlock(self, number: int) -> None:
        """Give a lock back, or wait for it no longer."""
        self._waiting.pop(number, None)
        self._released.pop(number, None)
        if self._connection is not None:
            self._connection.unlock(number)

    async def end(self) -> None:
        """Wait until all transactions are over, also those whose callers wait no longer."""
        while self._settled:
            ended = asyncio.get_running_loop().create_future()
            self._ends.append(ended)
            await ended

    def close(self) -> None:
        """Close the database once its transactions are over, and give back all locks."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _register(self, answer: Answer, settled: Settled) -> int:
        number = next(self._numbers)
        self._answers[number] = answer
        self._settled[number] = settled
        return number

    def _call(self, number: int, method: str, *arguments: Any) -> None:
        from pyodide.ffi import JsException  # type: ignore[import-not-found]

        if self._connection is None:
            self._forget(number)
            raise translate("InvalidStateError", "")
        try:
            getattr(self._connection, method)(number, *arguments)
        except JsException as error:
            self._forget(number)
            raise translate(error.name, error.message)  # noqa: B904 - its cause says what the browser said

    def _forget(self, number: int) -> BaseException | None:
        self._answers.pop(number, None)
        self._settled.pop(number, None)
        if not self._settled:
            self._tell_end()
        return self._failures.pop(number, None)

    def _tell_end(self) -> None:
        ends, self._ends = self._ends, []
        for ended in ends:
            if not ended.done():
                ended.set_result(None)

    def _callbacks(self) -> Any:
        from pyodide.ffi import create_proxy, to_js

        functions = {
            "answer": self._on_answer,
            "settle": self._on_settle,
            "locked": self._on_lock,
            "released": self._on_release,
            "notice": self._on_notice,
            "opened": self._on_opened,
            "upgrade": self._on_upgrade,
        }
        from js import Object  # type: ignore[import-not-found]

        return to_js({name: create_proxy(each) for name, each in functions.items()}, dict_converter=Object.fromEntries)

    def _on_answer(self, number: int, text: str) -> str | None:
        try:
            return self._answers[number](text)
        except BaseException as error:
            # An exception cannot pass through JavaScript: the transaction is aborted, and then it is told.
            self._failures[number] = error
            return None

    def _on_upgrade(self, version: int, text: str) -> str | None:
        try:
            return self._upgrade(version, text)
        except BaseException as error:
            self._upgrade_failure = error
            return None

    def _on_opened(self, name: str, message: str) -> None:
        self._opened(name, message, self._upgrade_failure)

    def _on_settle(self, number: int, name: str, message: str) -> None:
        settled = self._settled.get(number)
        failure = self._forget(number)
        if settled is None:
            return  # It had read all that it wanted.
        if name:
            settled(failure or translate(name, message))
        else:
            settled(None)

    def _on_lock(self, number: int, failure: str) -> None:
        locked = self._waiting.pop(number, None)
        if locked is not None:
            locked(failure)

    def _on_release(self, number: int) -> None:
        released = self._released.pop(number, None)
        if released is not None:
            released()

    def _on_notice(self, kind: str, text: str) -> None:
        if kind == "written":
            self._listener.written(text)
        elif kind == "outdated":
            self._listener.outdated()
        elif kind == "unwanted":
            self._listener.unwanted()
        else:
            self._listener.lost()


def _milliseconds(seconds: float) -> float:
    # A timer of a browser holds 31 bits, and one that is set to more rings at once.
    return min(seconds * 1000, 2**31 - 1)
