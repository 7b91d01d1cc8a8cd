"""Connects Python to JavaScript: transactions, locks and notifications, each answered by calling a Python function."""

import asyncio
from collections.abc import Callable, Generator, Iterator
from functools import cache
from importlib.resources import files
from io import BytesIO
from itertools import count
from typing import Any, NamedTuple, TypeVar

from swarm_persistence.engines.rows.indexeddb.exchange import Exchange
from swarm_persistence.engines.rows.indexeddb.failures import translate
from swarm_persistence.engines.rows.indexeddb.messages import NOTHING_MORE, TextWithBytes
from swarm_persistence.errors import DatabaseError

T = TypeVar("T")

Settled = Callable[[BaseException | None], None]
"""Is called once a transaction has ended, with the failure if it was aborted."""

Opened = Callable[[str, str, BaseException | None], None]
"""Is called with the name and the text of a failure to open, and what an upgrade raised; two empty texts on success."""

_UPGRADE = 0
"""The number of the transaction that upgrades the database."""

Notified = Callable[[str, str], None]
"""Is called with what has happened to the database, and a text that belongs to it:

- `written`: another tab or worker has committed to these tables, separated by spaces.
- `outdated`: a newer version of this code waits to upgrade the database, until this connection is closed.
- `unwanted`: another tab waits to delete it, until this connection is closed.
- `lost`: the browser has closed it.
"""

Upgrade = Generator[str, tuple[int, str], str]
"""An exchange inside the transaction that upgrades the database, which is sent its old version with each answer."""


class OpenRequest(NamedTuple):
    """The database to open, its version and its stores."""

    name: str
    version: int
    stores: str
    durability: str
    timeout_seconds: float


@cache
def script() -> Any:
    """Run the JavaScript file beside this one, once, and return its module; `DatabaseError` if it cannot run here."""
    try:
        from pyodide.code import run_js  # type: ignore[import-not-found]
    except ImportError as error:
        raise DatabaseError("IndexedDB needs a browser, and this Python does not run in one") from error
    module = run_js(files(__package__).joinpath("bridge.js").read_text())
    missing = module.missing()
    if missing:
        raise DatabaseError(f"this browser, or this page, has no {missing}")
    return module


class Bridge:
    """One connection to one database."""

    def __init__(self, notified: Notified) -> None:
        self._notified = notified
        self._numbers = count(1)
        self._answers: dict[int, Callable[[str], str]] = {}
        self._settled: dict[int, Settled] = {}
        self._failures: dict[int, BaseException] = {}
        self._sending: dict[int, Iterator[tuple[tuple[str, int], memoryview]]] = {}
        self._receiving: dict[int, dict[str, BytesIO]] = {}
        self._waiting: dict[int, Callable[[str], None]] = {}
        self._released: dict[int, Callable[[], None]] = {}
        self._ends: list[asyncio.Future[None]] = []
        self._connection: Any = None
        self._opened: Opened
        self._upgrade: Upgrade

    def open(self, opening: OpenRequest, upgrade: Upgrade, opened: Opened) -> None:
        """Open the database, and run the upgrade if it is new, or older than the requested version."""
        self._upgrade = upgrade
        self._opened = opened
        name, version, stores, durability, seconds = opening
        self._connection = script().open(
            name,
            version,
            stores,
            durability,
            self._to_js(_UPGRADE, _next_message(upgrade, None)),
            _milliseconds(seconds),
            self._callbacks(),
        )

    def read(self, exchange: Exchange[str], settled: Settled) -> None:
        """Run an exchange in a read-only transaction, which ends when the exchange returns `NOTHING_MORE`."""

        def answer(text: str) -> str:
            message = _next_message(exchange, text)
            if message == NOTHING_MORE:
                self._forget(number)
                settled(None)
            return message

        message = _next_message(exchange, None)
        if message == NOTHING_MORE:
            settled(None)
            return
        number = self._register(answer, settled)
        self._call(number, "transact", self._to_js(number, message), False, 0)

    def write(self, exchange: Exchange[str], settled: Settled, lock: int) -> None:
        """Run an exchange in a transaction under a lock; it commits what the exchange returns."""
        message = _next_message(exchange, None)
        number = self._register(lambda text: _next_message(exchange, text), settled)
        self._call(number, "transact", self._to_js(number, message), True, lock)

    async def fetch(self, message: str) -> str:
        """Return the answer to a message, from a transaction of its own."""
        answered: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def exchange() -> Exchange[str]:
            settle(answered, None, (yield message))
            return NOTHING_MORE

        self.read(exchange(), lambda failure: settle(answered, failure, ""))
        return await answered

    async def flush(self) -> None:
        """Wait until all commits have reached the disk."""
        flushed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        number = next(self._numbers)
        self._settled[number] = lambda failure: settle(flushed, failure, None)
        self._call(number, "flush")
        await flushed

    def lock(
        self, seconds: float, locked: Callable[[bool], None], released: Callable[[], None], *, is_exclusive: bool
    ) -> int:
        """Request the lock of the database, and return its number.

        `locked` is called with whether it was acquired in time, `released` when it was idle, or held for too long.
        Raises `DatabaseError` if the database is closed.
        """
        if self._connection is None:
            raise translate("InvalidStateError", "")
        number = next(self._numbers)
        self._waiting[number] = lambda failure: locked(not failure)
        self._released[number] = released
        self._connection.lock(number, is_exclusive, _milliseconds(seconds))
        return number

    def unlock(self, number: int) -> None:
        """Release a lock, or stop waiting for it."""
        self._waiting.pop(number, None)
        self._released.pop(number, None)
        if self._connection is not None:
            self._connection.unlock(number)

    async def end(self) -> None:
        """Wait until all transactions have ended, including those whose callers were cancelled."""
        while self._settled:
            ended = asyncio.get_running_loop().create_future()
            self._ends.append(ended)
            await ended

    def close(self) -> None:
        """Close the database once its transactions have ended, and release all locks."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _register(self, answer: Callable[[str], str], settled: Settled) -> int:
        number = next(self._numbers)
        self._answers[number] = answer
        self._settled[number] = settled
        return number

    def _call(self, number: int, method: str, *arguments: Any) -> None:
        from pyodide.ffi import JsException  # type: ignore[import-not-found]

        if self._connection is None:
            self._fail(number, translate("InvalidStateError", ""))
            return
        try:
            getattr(self._connection, method)(number, *arguments)
        except JsException as error:
            self._fail(number, translate(error.name, error.message))

    def _fail(self, number: int, error: Exception) -> None:
        settled = self._settled[number]
        self._forget(number)
        settled(error)

    def _forget(self, number: int) -> BaseException | None:
        self._answers.pop(number, None)
        self._settled.pop(number, None)
        self._sending.pop(number, None)
        self._receiving.pop(number, None)
        if not self._settled:
            self._notify_ends()
        return self._failures.pop(number, None)

    def _notify_ends(self) -> None:
        ends, self._ends = self._ends, []
        for ended in ends:
            if not ended.done():
                ended.set_result(None)

    def _callbacks(self) -> Any:
        from pyodide.ffi import create_proxy, to_js

        functions = {
            "answer": self._on_answer,
            "piece": self._on_piece,
            "receive": self._on_receive,
            "settle": self._on_settle,
            "locked": self._on_lock,
            "released": self._on_release,
            "notice": self._notified,
            "opened": self._on_opened,
            "upgrade": self._on_upgrade,
        }
        from js import Object  # type: ignore[import-not-found]

        return to_js({name: create_proxy(each) for name, each in functions.items()}, dict_converter=Object.fromEntries)

    def _to_js(self, number: int, message: str) -> Any:
        """Return a message as JavaScript takes it: a text, or an array of it and an array of bytes."""
        if not isinstance(message, TextWithBytes):
            return message
        from pyodide.ffi import to_js

        self._sending[number] = message.pieces()
        return to_js([str(message), list(message.blobs)])

    def _from_js(self, number: int, text: str, blobs: Any) -> str:
        """Return an answer; of bytes in pieces, which have been received, JavaScript gives the id."""
        if not blobs.length:
            return text
        # A `BytesIO` of exactly this size gives the bytes themselves, without a copy.
        return TextWithBytes(
            text,
            [
                self._receiving[number].pop(blob).getvalue() if isinstance(blob, str) else blob.to_bytes()
                for blob in blobs
            ],
        )

    def _on_answer(self, number: int, text: str, blobs: Any) -> Any:
        try:
            return self._to_js(number, self._answers[number](self._from_js(number, text, blobs)))
        except BaseException as error:
            # An exception cannot pass through JavaScript, so it is raised after the transaction has been aborted.
            self._failures[number] = error
            return None

    def _on_upgrade(self, version: int, text: str, blobs: Any) -> Any:
        try:
            answer = self._from_js(_UPGRADE, text, blobs)
            return self._to_js(_UPGRADE, _next_message(self._upgrade, (version, answer)))
        except BaseException as error:
            self._failures[_UPGRADE] = error
            return None

    def _on_piece(self, number: int) -> Any:
        """Return the key and the bytes of the next piece to store, or nothing after the last one."""
        from pyodide.ffi import to_js

        try:
            piece = next(self._sending[number], None)
            return to_js([] if piece is None else piece)
        except BaseException as error:
            self._failures[number] = error
            return None

    def _on_receive(self, number: int, id: str, size: int, start: int, piece: Any) -> bool:
        """Take a piece of stored bytes; `False` if that failed."""
        try:
            received = self._receiving.setdefault(number, {})
            if id not in received:
                received[id] = BytesIO(bytes(size))
            with received[id].getbuffer() as whole:
                piece.assign_to(whole[start : start + piece.byteLength])
        except BaseException as error:
            self._failures[number] = error
            return False
        return True

    def _on_opened(self, name: str, message: str) -> None:
        self._sending.pop(_UPGRADE, None)
        self._opened(name, message, self._failures.pop(_UPGRADE, None))

    def _on_settle(self, number: int, name: str, message: str) -> None:
        settled = self._settled.get(number)
        failure = self._forget(number)
        if settled is None:
            return  # The exchange had already ended.
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


def settle(future: "asyncio.Future[T]", failure: BaseException | None, result: T) -> None:
    """Set a future's outcome unless it has one; a cancelled caller leaves its future cancelled."""
    if future.done():
        return
    if failure is None:
        future.set_result(result)
    else:
        future.set_exception(failure)


def _next_message(exchange: Generator[str, Any, str], answer: object) -> str:
    try:
        return exchange.send(answer)
    except StopIteration as end:
        last: str = end.value
        return last


def _milliseconds(seconds: float) -> float:
    # A browser's timer has 31 bits; a longer one would fire at once.
    return min(seconds * 1000, 2**31 - 1)
