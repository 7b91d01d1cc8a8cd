"""What HTTP asks for and Litestar omits: HEAD, complete `Allow` headers, and 304 for a copy that is current."""

import asyncio

from litestar import Litestar
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from swarm_persistence.web.entity_tags import is_known

_ALLOW = b"allow"
_OF_BODY = (b"content-length", b"content-type")
_WITHOUT_BODY = (204, 304)


class AllowedMethods:
    """Adds to `Allow` what Litestar omits: HEAD, and for OPTIONS the methods of handlers added to a path later."""

    def __init__(self, litestar: Litestar) -> None:
        self._application: ASGIApp = litestar
        self._methods = {route.path_format: route.methods for route in litestar.routes if isinstance(route, HTTPRoute)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""

        async def send_completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    (name, self._completed(scope, value) if name.lower() == _ALLOW else value)
                    for name, value in message["headers"]
                ]
            await send(message)

        await self._application(scope, receive, send_completed)

    def _completed(self, scope: Scope, allowed: bytes) -> bytes:
        methods = {*allowed.decode().split(", "), *self._methods.get(scope.get("path_template", ""), ())}
        if "GET" in methods:
            methods.add("HEAD")
        return ", ".join(sorted(methods)).encode()


async def answer_unless_known(application: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Let an application answer a request: a GET with 304 and no body if the client's copy is current."""
    given = [value for name, value in scope["headers"] if name == b"if-none-match"]
    if not given or scope["method"] != "GET":  # type: ignore[typeddict-item]
        await application(scope, receive, send)
        return
    known = b", ".join(given).decode("latin-1")
    is_left_out = False

    async def send_unless_known(message: Message) -> None:
        nonlocal is_left_out
        if message["type"] == "http.response.start" and message["status"] == 200:
            tag = next((value for name, value in message["headers"] if name.lower() == b"etag"), None)
            if is_left_out := tag is not None and is_known(known, tag.decode("latin-1")):
                headers = [each for each in message["headers"] if each[0].lower() not in _OF_BODY]
                await send({"type": "http.response.start", "status": 304, "headers": headers})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        if not is_left_out:
            await send(message)

    await application(scope, receive, send_unless_known)


async def answer_head(application: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Let an application answer a HEAD request as a GET, and send the headers of its answer."""
    is_stream = asyncio.Event()

    async def send_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            has_length = b"content-length" in {name.lower() for name, _ in message["headers"]}
            if not has_length and message["status"] not in _WITHOUT_BODY:
                is_stream.set()

    request: Scope = {**scope, "method": "GET"}  # type: ignore[assignment]
    answering = asyncio.ensure_future(application(request, receive, send_headers))
    endless = asyncio.ensure_future(is_stream.wait())
    try:
        await asyncio.wait((answering, endless), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            answering.cancel()  # a stream may never end
            await asyncio.wait((answering,))
        if not answering.cancelled():
            answering.result()
    finally:
        endless.cancel()
        answering.cancel()
