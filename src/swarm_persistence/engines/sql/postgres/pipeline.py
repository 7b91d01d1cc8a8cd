"""Pipelines the setup of a transaction, the text of a statement and its parameters into one round trip.

The driver waits for the answer to each of its messages. Behind a pooler, which may run each transaction in another
session, each statement needs all of these, and BEGIN and COMMIT: four round trips. Here, the driver only binds and
executes a statement that it assumes to be prepared, and the messages that must precede it are sent just ahead of its
own. The server, and any pooler, runs everything up to a Sync, which ends the driver's messages, as one transaction. The
driver receives only the answers to its own messages.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, Generic, TypeVar

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

T = TypeVar("T")

_CORK = getattr(socket, "TCP_CORK", 0)

_HEAD = struct.Struct("!ci")
_COUNT = struct.Struct("!h")
_TYPE = struct.Struct("!i")

_READY, _COMPLETE, _FAILURE, _ROW_DESCRIPTION, _ROW = b"ZCETD"
_AT_ANY_TIME = frozenset(b"SAN")
"""Parameter status, notification and notice belong to no statement."""
_OF_PARSING = frozenset(b"1tTn")


def parse(name: str, text: str, types: Sequence[int] = ()) -> bytes:
    """Return the message that parses a statement, with the types of its parameters if they are known."""
    values = _COUNT.pack(len(types)) + b"".join(map(_TYPE.pack, types))
    return _message(b"P", name.encode() + b"\0" + text.encode() + b"\0" + values)


def execute(name: str) -> bytes:
    """Return the messages that execute a statement without parameters."""
    return _message(b"B", b"\0" + name.encode() + b"\0" + bytes(6)) + _message(b"E", bytes(5))


def _message(kind: bytes, content: bytes) -> bytes:
    return _HEAD.pack(kind, len(content) + 4) + content


class PipelinedConnection(asyncpg.Connection):
    """A connection of the driver whose transport another protocol can share."""

    def __init__(self, protocol: Any, transport: asyncio.Transport, *others: Any) -> None:
        super().__init__(protocol, transport, *others)
        self.protocol: Any = protocol
        self.transport = transport


class Prepared:
    """A prepared statement of the driver, and the message that parses it, if the server does not keep it."""

    def __init__(self, statement: "PreparedStatement[Any]", text: str, *, is_named: bool) -> None:
        self.statement = statement
        self.result_types = [attribute.type.oid for attribute in statement.get_attributes()]
        self.description = b""
        """The columns as the server last described them, with the expected types."""
        self.introduction = b""
        if not is_named:
            # The values are encoded for these types, whatever the columns may have become since.
            types = [parameter.oid for parameter in statement.get_parameters()]
            self.introduction = parse("", text, types) + _message(b"D", b"S\0")


class Pipeline(asyncio.Protocol):
    """A protocol between the transport of a connection and the driver."""

    def __init__(self, connection: PipelinedConnection) -> None:
        self._connection = connection
        self._transport = connection.transport
        self._protocol = connection.protocol
        for name in ("eof_received", "connection_lost", "pause_writing", "resume_writing"):
            setattr(self, name, getattr(self._protocol, name))  # calls that only the driver handles
        self._rest = bytearray()
        self.is_under_way = False
        """Whether messages are expected that are not for the driver, or part of one that is has arrived."""
        self._is_setting_up = False
        """Whether the next answer is that of the transaction's setup."""
        self._prepared: Prepared | None = None
        self.has_outdated_types = False
        """Whether columns had other types than the driver expected, so that the connection was closed."""
        # Only a TCP socket has these options.
        found = self._transport.get_extra_info("socket")
        self._socket = found if _CORK and found.family in (socket.AF_INET, socket.AF_INET6) else None
        self._transport.set_protocol(self)

    async def prepare(self, text: str, name: str, setup: bytes) -> Prepared:
        """Prepare a statement in the driver, in a transaction that is set up for it."""
        self._start(setup, None)
        self._write(setup)
        statement = await _Followed(self._connection.prepare(text, name=name), self._flush)
        return Prepared(statement, text, is_named=bool(name))

    async def execute(self, prepared: Prepared, values: Sequence[Any], setup: bytes) -> list[Any]:
        """Execute a statement, in a transaction that is set up for it, and return its rows.

        If it is still in flight when an error occurs, the connection can no longer be used.
        """
        self._start(setup, prepared)
        self._write(setup + prepared.introduction)
        rows: list[Any] = await _Followed(prepared.statement.fetch(*values), self._flush)
        return rows

    def data_received(self, data: bytes) -> None:
        """Pass the driver's messages on."""
        if not self.is_under_way:
            self._protocol.data_received(data)
            return
        self._rest += data
        passed = self._take_messages()
        if passed:
            self._protocol.data_received(passed)

    def _start(self, setup: bytes, prepared: Prepared | None) -> None:
        self._is_setting_up = bool(setup)
        self._prepared = prepared
        self.is_under_way = self._is_setting_up or prepared is not None

    def _write(self, data: bytes) -> None:
        """Send data together with the driver's next message, as each packet wakes the pooler."""
        if data:
            if self._socket is not None:
                self._socket.setsockopt(socket.IPPROTO_TCP, _CORK, 1)
            self._transport.write(data)

    def _flush(self) -> None:
        if self._socket is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _CORK, 0)

    def _take_messages(self) -> bytes:
        """Return the driver's share of the complete messages that have arrived, and keep an incomplete one."""
        passed = bytearray()
        position = 0
        while self.is_under_way and len(self._rest) - position >= _HEAD.size:
            kind = self._rest[position]
            end = position + 1 + int.from_bytes(self._rest[position + 1 : position + _HEAD.size])
            if end > len(self._rest):
                break
            if self._is_for_the_driver(kind, position, end):
                passed += self._rest[position:end]
            position = end
        if not self.is_under_way:
            passed += self._rest[position:]
            position = len(self._rest)
        del self._rest[:position]
        return bytes(passed)

    def _is_for_the_driver(self, kind: int, start: int, end: int) -> bool:
        if kind in _AT_ANY_TIME or kind == _FAILURE:
            return True
        if kind == _READY and not self.has_outdated_types:
            self.is_under_way = False
            return True
        if self._is_setting_up:
            if kind == _COMPLETE:
                self._is_setting_up = False
                self.is_under_way = self._prepared is not None
            return False
        if kind == _ROW:
            self.is_under_way = self.has_outdated_types  # what follows is all the driver's, however much it is
        elif kind == _ROW_DESCRIPTION and self._prepared is not None:
            self._check_types(self._prepared, bytes(self._rest[start + _HEAD.size : end]))
        return not (kind in _OF_PARSING or self.has_outdated_types)

    def _check_types(self, prepared: Prepared, description: bytes) -> None:
        """Close the connection if the columns have other types, as the driver would misread their bytes."""
        if description == prepared.description:
            return
        if _types_in(description) == prepared.result_types:
            prepared.description = description
        else:
            self.has_outdated_types = True
            self._transport.abort()


class _Followed(Generic[T]):
    """Awaits the driver's coroutine, and runs a callback once it waits, when its messages are sent."""

    def __init__(self, work: Coroutine[Any, Any, T], follow: Callable[[], None]) -> None:
        self._work = work
        self._follow = follow

    def __await__(self) -> Generator[Any, Any, T]:
        try:
            awaited = self._work.send(None)
            self._follow()
            while True:
                try:
                    yield awaited
                except BaseException as error:
                    awaited = self._work.throw(error)
                else:
                    awaited = self._work.send(None)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def _types_in(description: bytes) -> list[int]:
    """Return the types of the columns that a message describes."""
    types: list[int] = []
    position = _COUNT.size
    for _ in range(*_COUNT.unpack_from(description)):
        position = description.index(b"\0", position) + 1 + 6  # the name, its table and number
        types += _TYPE.unpack_from(description, position)
        position += 12
    return types
