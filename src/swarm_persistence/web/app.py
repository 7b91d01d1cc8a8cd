"""The ASGI application: the API, the page and MCP over one storage, behind the guard of all requests."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from litestar import Litestar, Response, Router, get
from litestar.di import Provide
from litestar.types import Receive, Scope, Send
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from swarm_persistence import Storage
from swarm_persistence.telemetry import prometheus_text
from swarm_persistence.web import api, login, mcp_endpoint, page
from swarm_persistence.web.access import ServerAccess, Visit, visit_of
from swarm_persistence.web.api.document import is_unknown_document, openapi_config
from swarm_persistence.web.dependencies import InjectedStorage
from swarm_persistence.web.http_rules import AllowedMethods, answer_head, answer_unless_known
from swarm_persistence.web.mcp_endpoint import McpEndpoint
from swarm_persistence.web.open_streams import OpenStreams
from swarm_persistence.web.paths import decoded_path
from swarm_persistence.web.problems import EXCEPTION_HANDLERS, HttpProblem, nothing_at
from swarm_persistence.web.request_guard import RequestGuard
from swarm_persistence.web.strict_values import StrictRequest, require_flags
from swarm_persistence.web.traces import continued

LARGEST_BODY = 16 * 2**20
MOST_STREAMS = 1000

AnyScope = MutableMapping[str, Any]
AnyReceive = Callable[[], Awaitable[MutableMapping[str, Any]]]
AnySend = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@get("/metrics", include_in_schema=False)
async def metrics(storage: InjectedStorage) -> Response[str]:
    """Answer the metrics in Prometheus's text format."""
    return Response(await prometheus_text(storage), headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})


class SwarmApp:
    """An ASGI application, to be served by itself or mounted in another one; it does not close the storage."""

    def __init__(self, storage: Storage, access: ServerAccess, *, largest_body: int, most_streams: int) -> None:
        self.storage = storage
        self.access = access
        self._streams = OpenStreams(most_streams)
        self._mcp = McpEndpoint(storage, self._streams, is_read_only=access.is_read_only, largest_body=largest_body)
        failed_logins = login.FailedLogins()
        self.litestar = Litestar(
            [
                Router("/", route_handlers=[*page.ROUTE_HANDLERS, *login.ROUTE_HANDLERS, metrics]),
                *api.ROUTERS,
            ],
            dependencies={
                "storage": Provide(lambda: storage, sync_to_thread=False),
                "access": Provide(lambda: access, sync_to_thread=False),
                "streams": Provide(lambda: self._streams, sync_to_thread=False),
                "failed_logins": Provide(lambda: failed_logins, sync_to_thread=False),
                "visit": Provide(_visit, sync_to_thread=False),
            },
            request_class=StrictRequest,
            guards=[require_flags],
            exception_handlers=EXCEPTION_HANDLERS,
            openapi_config=openapi_config(),
            on_shutdown=[self._mcp.close],
            logging_config=None,  # the root logger is the caller's
            request_max_body_size=None,  # the guard limits it, also where Litestar does not serve
        )
        self._routes = AllowedMethods(self.litestar)
        self._guard = RequestGuard(self._serve, access, largest_body=largest_body)

    async def __call__(self, scope: AnyScope, receive: AnyReceive, send: AnySend) -> None:
        """Serve a request, or the startup and shutdown of a server."""
        # The types of ASGI differ between frameworks; all of them mean the same.
        parts: Any = (scope, receive, send)
        if scope["type"] == "http":
            request: Any = {**scope, "path": _path_of(scope)}
            if scope["method"] == "HEAD" and not _is_mcp(request):
                await answer_head(self._guard, request, *parts[1:])
            else:
                await self._guard(request, *parts[1:])
        elif scope["type"] == "lifespan":
            await self.litestar(*parts)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1000, "reason": None})

    async def _serve(self, scope: Any, receive: Receive, send: Send) -> None:
        if _is_mcp(scope):
            await self._mcp(scope, receive, send)
        elif is_unknown_document(_place(scope)):
            raise HttpProblem(404, nothing_at(scope))
        else:
            with continued(scope, self.storage):
                await answer_unless_known(self._routes, scope, receive, send)

    def end_streams(self) -> None:
        """End all streams and long polls at once, and refuse new ones; a stopping server waits for them."""
        self._streams.end_all()


def swarm_app(
    storage: Storage,
    *,
    read_only: bool = False,
    token: str | None = None,
    hosts: Iterable[str] | None = (),
    largest_body: int = LARGEST_BODY,
    most_streams: int = MOST_STREAMS,
) -> SwarmApp:
    """Return the application of a storage; mount it anywhere: `app.mount("/swarm", swarm_app(storage))`.

    With a `token`, each caller must present it; browsers log in with it. Requests are answered for addresses,
    `localhost` and the names in `hosts`; with `None`, for any name, for applications that check it themselves.

    Raises:
        InvalidQueryError: the token is too short to be a secret.

    """
    access = ServerAccess(token, is_read_only=read_only, hosts=hosts)
    return SwarmApp(storage, access, largest_body=largest_body, most_streams=most_streams)


def _visit(scope: Scope) -> Visit:
    return visit_of(scope)


def _is_mcp(scope: Any) -> bool:
    return _place(scope).rstrip("/") == mcp_endpoint.PATH


def _place(scope: Any) -> str:
    """Return the path below that of the mount."""
    root: str = scope.get("root_path", "").rstrip("/")
    path: str = scope["path"]
    return path.removeprefix(root)


def _path_of(scope: AnyScope) -> str:
    raw: bytes = scope.get("raw_path") or b""
    if b"%" not in raw and b"/=" not in raw:
        return str(scope["path"])
    return decoded_path(raw.partition(b"?")[0].decode("latin-1"))
