"""Answers a GET with 304 and no body if the client's copy is current (`If-None-Match`)."""

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from swarm_persistence.web.entity_tags import is_known

_OF_BODY = (b"content-length", b"content-type")


async def answer_unless_known(application: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Let an application answer a request, and omit the body if the client has it already."""
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
