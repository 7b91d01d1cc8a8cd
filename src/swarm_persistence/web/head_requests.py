"""Answers HEAD as GET is answered, without the body."""

import asyncio

from litestar.types import ASGIApp, Message, Receive, Scope, Send

_WITHOUT_BODY = (204, 304)


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
