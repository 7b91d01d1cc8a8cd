"""Logs a browser in with the server's token, and out; the answers to forms that a page shows."""

import time
from collections import OrderedDict
from urllib.parse import quote

from litestar import Response, post
from litestar.di import NamedDependency

from swarm_persistence.web.access import ServerAccess
from swarm_persistence.web.caller import LOGIN_PATH, Caller
from swarm_persistence.web.dependencies import AnyRequest, FormFields, InjectedVisit
from swarm_persistence.web.problems import HttpProblem

_OF_URLS = "/?#[]@!$&'()*+,;=:%"
_MOST_FAILURES = 10
_WITHIN_SECONDS = 60.0
_MOST_ADDRESSES = 1000


class FailedLogins:
    """Limits the login attempts from one address."""

    def __init__(self) -> None:
        self._times: OrderedDict[str, list[float]] = OrderedDict()

    def require_attempts_left(self, address: str) -> None:
        """Raise `HttpProblem` if too many logins from this address have failed within the last minute."""
        times = [each for each in self._times.get(address, ()) if each > time.monotonic() - _WITHIN_SECONDS]
        if len(times) >= _MOST_FAILURES:
            wait = int(times[0] + _WITHIN_SECONDS - time.monotonic()) + 1
            raise HttpProblem(429, f"Too many logins have failed; try again in {wait} s.", {"retry-after": str(wait)})

    def add(self, address: str) -> None:
        """Count a failure."""
        self._times[address] = [*self._times.pop(address, ()), time.monotonic()][-_MOST_FAILURES:]
        if len(self._times) > _MOST_ADDRESSES:
            self._times.popitem(last=False)


@post(LOGIN_PATH, status_code=303, include_in_schema=False)
async def log_in(
    request: AnyRequest,
    data: FormFields,
    access: NamedDependency[ServerAccess],
    visit: InjectedVisit,
    failed_logins: NamedDependency[FailedLogins],
) -> Response[None]:
    """Check the form's `token`, set the cookie, and redirect to its `next` page."""
    caller = Caller(request.scope)
    failed_logins.require_attempts_left(caller.address)
    there = data.get("next", "/")
    if not access.is_token(data.get("token", "").strip()):
        failed_logins.add(caller.address)
        return _see_other(visit.url(f"{LOGIN_PATH}?failed=1&next={quote(there, safe='')}"), None)
    # A path only: `//other.example` and `/\other.example` are other sites.
    is_path = there.startswith("/") and not there.startswith(("//", "/\\")) and there.isprintable()
    session = access.sessions.new(is_logged_in=True)
    there = quote(there, safe=_OF_URLS)  # a header is ASCII
    return _see_other(visit.url(there if is_path else "/"), caller.set_cookie(access.sessions.cookie(session)))


@post("/logout", status_code=303, include_in_schema=False)
async def log_out(request: AnyRequest, access: NamedDependency[ServerAccess], visit: InjectedVisit) -> Response[None]:
    """Forget the session."""
    session = access.sessions.new(is_logged_in=False)
    return _see_other(visit.url("/"), Caller(request.scope).set_cookie(access.sessions.cookie(session)))


def _see_other(location: str, cookie: str | None) -> Response[None]:
    headers = {"location": location} | ({"set-cookie": cookie} if cookie else {})
    return Response(None, status_code=303, headers=headers)


ROUTE_HANDLERS = (log_in, log_out)
