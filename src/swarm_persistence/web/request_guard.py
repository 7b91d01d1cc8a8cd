"""The layer that each request passes first: names, bodies, tokens, sessions, CSRF tokens; the headers of answers."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any
from urllib.parse import parse_qs, quote

from litestar.types import ASGIApp, Message, Receive, Send

from swarm_persistence.web.access import VISIT, ServerAccess, Visit
from swarm_persistence.web.caller import API_PATH, LOGIN_PATH, OPEN_PATHS, Caller
from swarm_persistence.web.page.rendering import page_text
from swarm_persistence.web.problems import MEDIA_TYPE, HttpProblem, problem_body, problem_in
from swarm_persistence.web.request_body import RequestBody
from swarm_persistence.web.sessions import BrowserSession

CSRF_FIELD = "csrf_token"
"""The field of a form that carries the CSRF token."""
CSRF_HEADER = "x-csrf-token"
"""The header of a script's request that carries it."""

_ProblemPage = Callable[[bytes], bytes]

_LARGEST_FORM = 64 * 1024
"""The most bytes of a form: callers without the token can send forms, and parsing 16 MiB would block for seconds."""
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_PLAIN_BODIES = {"accept-encoding": "identity"}
_ADVICE = {
    401: "Log in, and try again.",
    403: "Nothing was changed.",
    404: "The address may be misspelt, or what it named was deleted.",
    405: "This address is for programs; the pages are in the navigation above.",
    409: "Something has changed meanwhile. Look at it again before you repeat this.",
    422: "Check the address, or what was filled in.",
    429: "Wait for a moment.",
    503: "The server is busy or stops; try again soon.",
}
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "same-origin",  # with "no-referrer", browsers send no origin with forms
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class RequestGuard:
    """Rejects requests that are not allowed, and passes the others to an application."""

    def __init__(self, application: ASGIApp, access: ServerAccess, *, largest_body: int) -> None:
        self._application = application
        self._access = access
        self._largest_body = largest_body

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Caller(scope)
        body = RequestBody(receive, self._largest_body, is_expected=request.method not in _SAFE_METHODS)
        try:
            if request.host_count > 1:
                raise HttpProblem(400, f"The request has {request.host_count} Host headers, expected one.")
            if not self._access.answers_to(request.host):
                name = request.host or "no name at all"
                raise HttpProblem(421, f"This server does not answer to {name!r}; name it with --allow-host, or hosts=")
            body.check_length(request.headers.get("content-length"))
            if request.encoding:
                raise HttpProblem(
                    415, f"The body has the Content-Encoding {request.encoding!r}; send it as it is.", _PLAIN_BODIES
                )
            visit, cookie = await self._admit(request, body)
        except HttpProblem as problem:
            stranger = Visit(request.root, None, "", self._access.is_read_only, has_login=False)
            await _send_problem(_Answer(send, {}, _page_for(request, stranger)), problem)
            return
        scope[VISIT] = visit
        answer = _Answer(send, {"set-cookie": cookie} if cookie else {}, _page_for(request, visit))
        try:
            await self._application(scope, body.receive, answer.send)
        except HttpProblem as problem:
            if answer.has_begun:
                raise
            await _send_problem(answer, problem)

    async def _admit(self, request: Caller, body: RequestBody) -> tuple[Visit, str | None]:
        """Return what the caller may do, and a cookie to set; raise `HttpProblem` if the request is refused."""
        access = self._access
        has_token = request.bearer is not None and access.is_token(request.bearer)
        session = access.sessions.read(cookie) if (cookie := request.cookie) else None
        is_known = has_token or not access.needs_token or (session is not None and session.is_logged_in)
        if not is_known and not request.path.startswith(OPEN_PATHS):
            self._refuse_unauthenticated(request)
        if request.method not in _SAFE_METHODS:
            await self._check_change(request, body, session, has_token=has_token)
        new_cookie = None
        if session is None and not has_token and request.wants_page:
            session = access.sessions.new(is_logged_in=False)
            new_cookie = request.set_cookie(access.sessions.cookie(session))
        csrf_token = "" if session is None else access.sessions.csrf_token(session)
        return Visit(request.root, session, csrf_token, access.is_read_only, access.needs_token), new_cookie

    def _refuse_unauthenticated(self, request: Caller) -> None:
        if request.wants_page:
            there = quote(request.link + (f"?{request.query}" if request.query else ""), safe="")
            raise HttpProblem(303, "Log in first.", {"location": f"{request.root}{LOGIN_PATH}?next={there}"})
        reason = "The token is wrong." if request.bearer else "This needs the server's token: Authorization: Bearer …"
        raise HttpProblem(401, reason, {"www-authenticate": "Bearer"})

    async def _check_change(
        self, request: Caller, body: RequestBody, session: BrowserSession | None, *, has_token: bool
    ) -> None:
        is_of_server = request.path in ("/login", "/logout", "/mcp")  # MCP's tools are chosen by the server's mode
        is_reading = request.path.rstrip("/") == "/api/v1/documents/nearest"  # an embedding is too long for a query
        if self._access.is_read_only and not (is_of_server or is_reading):
            raise HttpProblem(403, "This server is read-only.")
        if has_token or not request.may_be_of_browser:
            return  # a page of another site can neither know the token nor hide that a browser sends it
        if request.is_form and request.path.startswith(API_PATH):  # as `curl -d` sends, and no page of ours
            raise HttpProblem(415, "The body is a form by its Content-Type, expected application/json.")
        if request.is_form:
            body.limit(_LARGEST_FORM)
        if not request.is_of_own_page:
            raise HttpProblem(403, "A page of another site must not change anything here.")
        given = request.headers.get(CSRF_HEADER)
        if given is None and request.is_form:
            given = parse_qs((await body.read()).decode("latin-1")).get(CSRF_FIELD, [""])[0]
        if session is None or given is None or not self._access.sessions.is_csrf_token(session, given):
            remedy = "load the page again" if request.is_form else "a program sends no cookie, no Origin and no Referer"
            raise HttpProblem(403, f"The CSRF token is missing or has expired; {remedy}.")


class _Answer:
    """Sends an answer with the headers that all answers have; a problem as a page, if the caller prefers one."""

    def __init__(self, send: Send, headers: dict[str, str], page: _ProblemPage | None) -> None:
        self._send = send
        self._headers = headers
        self._page = page
        self._problem: Any = None
        self._body = b""
        self.has_begun = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            message = {**message, "headers": self._completed(message)}
            is_error = message["status"] >= 400
            if is_error and self._page is not None and (b"content-type", MEDIA_TYPE.encode()) in message["headers"]:
                self._problem = message  # replaced by the length of the page
                return
        elif self._problem is not None and self._page is not None:
            self._body += message.get("body", b"")  # type: ignore[operator]
            if message.get("more_body"):
                return
            body = self._page(self._body)
            replaced = {b"content-type": b"text/html; charset=utf-8", b"content-length": str(len(body)).encode()}
            headers = [(name, replaced.get(name, value)) for name, value in self._problem["headers"]]
            start: Any = {**self._problem, "headers": headers}
            await self._send(start)
            message = {"type": "http.response.body", "body": body, "more_body": False}
        await self._send(message)

    def _completed(self, start: Any) -> list[tuple[bytes, bytes]]:
        given = [(name.lower(), value) for name, value in start.get("headers", ())]
        names = {name for name, _ in given}
        added = {"cache-control": "no-store", **_HEADERS, **self._headers}
        return given + _encoded((name, value) for name, value in added.items() if name.encode() not in names)


def _page_for(request: Caller, visit: Visit) -> _ProblemPage | None:
    return partial(_problem_page, visit) if request.prefers_pages else None


def _problem_page(visit: Visit, body: bytes) -> bytes:
    """Return the page that shows the problem of a body."""
    problem = problem_in(body)
    advice = _ADVICE.get(problem.status, "")
    return page_text(visit, "problem.html", is_live=False, problem=problem, advice=advice).encode()


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


async def _send_problem(answer: _Answer, problem: HttpProblem) -> None:
    body = problem_body(problem.status_code, problem.detail)
    headers = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), **(problem.headers or {})}
    await answer.send(
        {"type": "http.response.start", "status": problem.status_code, "headers": _encoded(headers.items())}
    )
    await answer.send({"type": "http.response.body", "body": body, "more_body": False})
