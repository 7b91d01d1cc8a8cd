"""Access control: the token, read-only servers, the server's names, and the rights of one request."""

import hmac
import ipaddress
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from swarm_persistence import InvalidQueryError
from swarm_persistence.errors import shown
from swarm_persistence.web.sessions import BrowserSession, Sessions

SHORTEST_TOKEN = 16
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
VISIT = "swarm_persistence.visit"
"""The key of the visit in an ASGI scope."""


class Visit(msgspec.Struct, frozen=True):
    """What a request's handler needs to know about its caller."""

    root: str
    """The path at which the application is mounted, without a slash at its end."""
    session: BrowserSession | None
    csrf_token: str
    """The token that a page's form or script sends with each change; empty for callers that need none."""
    is_read_only: bool
    has_login: bool
    """Whether the server has a token, so that there is something to log out of."""

    def url(self, path: str) -> str:
        """Return the path of a link: `visit.url("/tasks")`."""
        return self.root + path


class ServerAccess:
    """The settings of a server: its token, whether it is read-only, and the names that it answers to."""

    def __init__(self, token: str | None, *, is_read_only: bool, hosts: Iterable[str] | None) -> None:
        if token is not None:
            require_secret(token)
        self.is_read_only = is_read_only
        self.sessions = Sessions(token)
        self._token = token
        self._hosts = None if hosts is None else frozenset(_checked_name(each) for each in hosts)

    @property
    def needs_token(self) -> bool:
        """Whether a caller must present the token, or log in with it."""
        return self._token is not None

    def is_token(self, text: str) -> bool:
        """Tell, in constant time, whether a text is the token."""
        return self._token is not None and hmac.compare_digest(text.encode(), self._token.encode())

    def answers_to(self, host: str) -> bool:
        """Tell whether the server has the name in a `Host` header.

        This prevents DNS rebinding: a page of another site whose name resolves to our address sends that name. An
        address is not such a name, and no public name is `localhost`.
        """
        if self._hosts is None:
            return True
        name = host_name(host)
        return name == "localhost" or name in self._hosts or _is_address(name)


def require_secret(token: str) -> None:
    """Raise `InvalidQueryError` for an invalid token."""
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise InvalidQueryError(f"the token needs {SHORTEST_TOKEN} characters of printable ASCII, or more")


def _checked_name(host: str) -> str:
    name = host.lower().rstrip(".")
    if not (_NAME.fullmatch(name) or _is_address(name)):
        wanted = "a name or an address, in ASCII, without a scheme, a port or a path, such as swarm.example.com"
        raise InvalidQueryError(f"{shown(host)} is not the name of a server, expected {wanted}")
    return name


def host_name(host: str) -> str:
    """Return the name in a `Host` header, without its port."""
    text = host.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    name, _, port = text.rpartition(":")
    return (name if name and port.isdigit() else text).rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def visit_of(scope: Any) -> Visit:
    """Return the visit of a request."""
    visit: Visit = scope[VISIT]
    return visit
