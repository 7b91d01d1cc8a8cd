"""The live page: HTML that the server renders, and its static files.

How a page is added:

- Write a Litestar handler in a module of this folder, and put it (or a `Router`) into `ROUTE_HANDLERS` below. Its path,
  `@get("/tasks")`, is below the place where the application is mounted.
- A handler gets what it names as a parameter (`web/dependencies.py`): `storage: InjectedStorage`, `streams:
  InjectedStreams`, `visit: InjectedVisit`. A visit (`web/access.py`) has `visit.csrf_token`, `visit.is_read_only`,
  `visit.has_login`, and `visit.url("/tasks/7")` for links, which respects the mount.
- Query parameters are annotated: `limit: Annotated[int, QueryParameter(ge=1)] = 50`, or `q: FromQuery[str] = ""`; those
  of a path are `id: FromPath[str]`, with `urllib.parse.unquote(id)`, as a slash in an id stays percent-encoded.
- A form that changes something sends `<input type="hidden" name="csrf_token" value="…">`, url-encoded; a script sends
  the header `X-CSRF-Token`. The layer before the handlers (`web/request_guard.py`) checks it, and refuses all changes
  if the server is read-only; a handler only leaves the buttons out. `data: FormFields` is a form.
- Static files are in `static/`, and are served at `/static/`, also to a browser that has not logged in. They are part
  of the package, as are all files of this folder. The Content-Security-Policy allows neither inline scripts nor inline
  styles, nor anything of another site.
- The handler answers `Response(text, media_type=MediaType.HTML)`; values of records are escaped.
- The API is beside it, at `/api/v1` (`visit.url("/api/v1/tasks/stream")` for an `EventSource`); `page_of` in
  `web/lists.py` is the one way to filter, sort and page through records.
- `/login` shows a form that posts `token`, `next` and `csrf_token` to `/login` (`web/login.py`); after a wrong token,
  the browser comes back to `/login?failed=1&next=…`. `POST /logout` ends the session.
"""

from pathlib import Path
from typing import Annotated

from litestar import Response, get
from litestar.params import FromQuery, QueryParameter
from litestar.static_files import create_static_files_router
from litestar.types import ControllerRouterHandler

from swarm_persistence.web.dependencies import AnyRequest, InjectedVisit
from swarm_persistence.web.page import (
    agents,
    approvals,
    documents,
    history,
    limits,
    live,
    many_tasks,
    overview,
    schedule_form,
    schedules,
    search,
    task_actions,
    tasks,
)
from swarm_persistence.web.page.rendering import render
from swarm_persistence.web.problems import MEDIA_TYPE, problem_body

_STATIC = Path(__file__).parent / "static"


@get("/login", include_in_schema=False)
async def login_form(
    visit: InjectedVisit, there: Annotated[str, QueryParameter(name="next")] = "/", failed: FromQuery[int] = 0
) -> Response[str]:
    """Show the form of the login."""
    return render(visit, "login.html", there=there, failed=bool(failed))


def _no_file(_request: AnyRequest, error: ValueError) -> Response[bytes]:
    # Python's file functions refuse a name with a NUL so.
    body = problem_body(404, f"There is no such file: {error}")
    return Response(body, status_code=404, media_type=MEDIA_TYPE)


ROUTE_HANDLERS: tuple[ControllerRouterHandler, ...] = (
    overview.overview,
    tasks.tasks,
    tasks.task,
    task_actions.act,
    many_tasks.act_on_many,
    approvals.approvals,
    schedules.schedules,
    schedules.schedule,
    schedules.act,
    schedule_form.schedule_form,
    schedule_form.set_schedule,
    limits.limits,
    limits.limit_form,
    limits.set_limit,
    limits.act,
    agents.agents,
    agents.agent,
    history.events,
    history.messages,
    history.conversation,
    history.metrics,
    documents.documents,
    documents.document,
    documents.act,
    search.search,
    live.live,
    login_form,
    create_static_files_router(
        "/static", directories=[_STATIC], include_in_schema=False, exception_handlers={ValueError: _no_file}
    ),
)
"""In their order; the paths of all of them are below the mount."""
