"""Completes the `Allow` headers of answers, of OPTIONS requests and of problems with the status 405."""

from litestar import Litestar
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, Message, Receive, Scope, Send

_ALLOW = b"allow"


class AllowedMethods:
    """Adds what Litestar omits: HEAD, and for OPTIONS the methods of handlers added to a path later."""

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
