"""A proxy before a server, which tests let fall silent: connections stay open, and no answer comes."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from postgres.servers import PASSWORD, USER, Server


class _Line:
    """One connection of a client, and the one to the server that was made for it."""

    def __init__(self, proxy: "Proxy") -> None:
        self.proxy = proxy
        self.is_silent = False
        self.is_armed = False
        self._is_answered = True
        self.client = _End(self._to_server)
        self.server = _End(self._to_client)

    def hang_up(self) -> None:
        """Close both ends."""
        self.client.transport.abort()
        self.server.transport.abort()

    def _to_server(self, data: bytes) -> None:
        self.proxy.round_trips += self._is_answered
        self._is_answered = False
        self.is_armed = self.is_armed or self.proxy.arming_words in data
        if self.is_armed and self.proxy.fatal_words is not None and self.proxy.fatal_words in data:
            self.is_silent = True
            if self.proxy.arming_words:
                self.proxy.fatal_words = None
            self.proxy.is_silent = self.proxy.is_silent or self.proxy.are_words_fatal_to_all
        self.server.transport.write(data)

    def _to_client(self, data: bytes) -> None:
        self._is_answered = True
        if not (self.is_silent or self.proxy.is_silent):
            self.client.transport.write(data)


class _End(asyncio.Protocol):
    """One end of a line."""

    transport: asyncio.Transport

    def __init__(self, pass_on) -> None:  # type: ignore[no-untyped-def]
        self._pass_on = pass_on
        self.other: _End
        self.is_lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._pass_on(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.other.transport.abort()
        self.is_lost.set_result(None)


class Proxy:
    """Passes on what clients ask and what the server answers."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lines: list[_Line] = []
        self.port = 0
        self.is_silent = False
        """Whether all answers are held back, those on new connections included."""
        self.fatal_words: bytes | None = None
        """A connection falls silent when a client has asked for something with these words: no answer comes to that."""
        self.are_words_fatal_to_all = False
        self.round_trips = 0
        """How often a client has sent something after it had seen all answers, or some of them."""
        self.arming_words = b""
        """The fatal words count only where a client has sent these before, and then once."""

    @property
    def accepted(self) -> int:
        """Return how many connections there were."""
        return len(self._lines)

    def url(self, **options: object) -> str:
        """Return the URL of the server's database, through the proxy."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/postgres?{query}"

    def silence(self) -> None:
        """Hold back all answers on the connections that there are; new ones are as good as any."""
        for line in self._lines:
            line.is_silent = True

    async def accept(self, listener: socket.socket) -> None:
        """Make a line of each connection that comes."""
        loop = asyncio.get_running_loop()
        while True:
            accepted, _ = await loop.sock_accept(listener)
            await self._connect(accepted)

    async def end(self) -> None:
        """Close all lines."""
        for line in self._lines:
            line.hang_up()
        await asyncio.gather(*(end.is_lost for line in self._lines for end in (line.client, line.server)))

    async def _connect(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        line = _Line(self)
        line.client.other, line.server.other = line.server, line.client
        # By the server's socket, where no password is asked for: that saves the time it takes to check one.
        path = self._server.folder / f".s.PGSQL.{self._server.port}"
        await loop.create_unix_connection(lambda: line.server, str(path))
        await loop.connect_accepted_socket(lambda: line.client, accepted)
        self._lines.append(line)


@asynccontextmanager
async def new_proxy(server: Server) -> AsyncIterator[Proxy]:
    """Start a proxy before a server."""
    proxy = Proxy(server)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        proxy.port = listener.getsockname()[1]
        accepting = asyncio.create_task(proxy.accept(listener))
        try:
            yield proxy
        finally:
            accepting.cancel()
            await asyncio.wait((accepting,))
            await proxy.end()
