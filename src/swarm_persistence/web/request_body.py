"""Passes on the body of a request up to a limit; can read it whole first, and still pass it on."""

from litestar.types import HTTPRequestEvent, Receive
from litestar.types.asgi_types import HTTPReceiveMessage

from swarm_persistence.web.problems import HttpProblem

_ENDED_EARLY = "The request ended before its body did."
_MOST_DIGITS = 20
"""Python refuses to convert longer numbers."""


class RequestBody:
    """The body of one request."""

    def __init__(self, receive: Receive, largest: int, *, is_expected: bool) -> None:
        self._receive = receive
        self._largest = largest
        self._is_expected = is_expected
        self._received = 0
        self._whole: HTTPRequestEvent | None = None

    def check_length(self, length: str | None) -> None:
        """Raise `HttpProblem` if the length that a header announces is above the limit."""
        is_number = length is not None and length.isascii() and length.isdigit()
        if length is not None and is_number and int(length[:_MOST_DIGITS]) > self._largest:
            self._refuse()

    def limit(self, largest: int) -> None:
        """Lower the limit of the bytes still to be received."""
        self._largest = min(self._largest, largest)

    async def receive(self) -> HTTPReceiveMessage:
        """Return the next message: the one read already, or the server's next one."""
        if self._whole is not None:
            message, self._whole = self._whole, None
            return message
        return await self._next()

    async def read(self) -> bytes:
        """Read the body whole; `receive` then returns it in one message."""
        parts: list[bytes] = []
        while True:
            message = await self._next()
            if message["type"] != "http.request":
                raise HttpProblem(400, _ENDED_EARLY)
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                break
        body = b"".join(parts)
        self._whole = {"type": "http.request", "body": body, "more_body": False}
        return body

    async def _next(self) -> HTTPReceiveMessage:
        message: HTTPReceiveMessage = await self._receive()  # type: ignore[assignment]
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            if self._received > self._largest:
                self._refuse()
            self._is_expected &= message.get("more_body", False)
        elif self._is_expected:
            # Litestar would log it as an internal error.
            raise HttpProblem(400, _ENDED_EARLY)
        return message

    def _refuse(self) -> None:
        raise HttpProblem(413, f"The body of a request may have {self._largest:,} bytes.")
