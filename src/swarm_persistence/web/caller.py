"""The caller of a request: a program or a browser, its token, its cookie, and the page that sent it."""

from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import quote

from swarm_persistence.web.sessions import LIFETIME_SECONDS

LOGIN_PATH = "/login"
OPEN_PATHS = (LOGIN_PATH, "/static/")
"""The paths that a browser needs to log in."""
API_PATH = "/api/v1/"
_WITHOUT_PAGES = (API_PATH, "/api/openapi.json", "/mcp", "/metrics", "/static/")
"""Paths whose callers are programs, which get an error where a browser is redirected to the login."""
_JSON = ("application/json", "application/problem+json")
_FORM = "application/x-www-form-urlencoded"


class Caller:
    """The program or browser that sends a request, as far as the request tells."""

    def __init__(self, scope: Any) -> None:
        self.method: str = scope["method"]
        self.headers: dict[str, str] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        mount: str = scope.get("root_path", "").rstrip("/")
        self.root = quote(mount)
        """The path at which the application is mounted, as in links."""
        self.path: str = scope["path"].removeprefix(mount) or "/"
        raw_path = scope.get("raw_path", b"").partition(b"?")[0].decode("latin-1")
        is_below = raw_path.startswith(f"{self.root}/")
        self.link = raw_path.removeprefix(self.root) if is_below else quote(self.path, safe="/%")
        """The path as in links."""
        self.query = scope.get("query_string", b"").decode("latin-1")
        self.host = self.headers.get("host", "")
        self.host_count = sum(name == b"host" for name, _ in scope["headers"])
        client = scope.get("client")
        self.address: str = client[0] if client else ""
        self._scheme = scope.get("scheme", "http")

    @property
    def bearer(self) -> str | None:
        """The token that the request shows."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None

    @property
    def cookie(self) -> str | None:
        """The cookie of its session."""
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(self.headers.get("cookie", ""))
        except CookieError:
            return None
        found = cookies.get(self._cookie_name)
        return None if found is None else found.value

    def set_cookie(self, value: str) -> str:
        """Return the header that sets the cookie."""
        secure = "; Secure" if self._scheme == "https" else ""
        path = f"{self.root}/"
        return (
            f"{self._cookie_name}={value}; Path={path}; Max-Age={LIFETIME_SECONDS}; HttpOnly; SameSite=Strict{secure}"
        )

    @property
    def _cookie_name(self) -> str:
        # Browsers send cookies to all ports of a name.
        port = self.host.rpartition(":")[2]
        return f"swarm_session_{port}" if port.isdigit() else "swarm_session"

    @property
    def wants_page(self) -> bool:
        """Whether it is a browser that loads a page."""
        is_read = self.method in ("GET", "HEAD") and not self.path.startswith(_WITHOUT_PAGES)
        return is_read and "text/html" in self.headers.get("accept", "")

    @property
    def prefers_pages(self) -> bool:
        """Whether it is a browser that shows errors to a person; a program accepts JSON, or anything."""
        weights = _weights(self.headers.get("accept", ""))
        return weights.get("text/html", 0.0) > max(weights.get(each, 0.0) for each in _JSON)

    @property
    def is_form(self) -> bool:
        """Whether its body is a form."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM

    @property
    def encoding(self) -> str:
        """How its body is compressed; empty if it is not."""
        encoding = self.headers.get("content-encoding", "").strip().lower()
        return "" if encoding == "identity" else encoding

    @property
    def may_be_of_browser(self) -> bool:
        """Whether a browser may have sent it, for any page."""
        told = ("origin", "sec-fetch-site", "cookie", "referer")
        return self.is_form or any(name in self.headers for name in told)

    @property
    def is_of_own_page(self) -> bool:
        """Whether, if a browser sent it, it came from one of our own pages."""
        site = self.headers.get("sec-fetch-site", "same-origin")
        origin = self.headers.get("origin")
        # The scheme may be another one: a proxy may speak TLS for us. It is not parsed, as it may be malformed.
        return site in ("same-origin", "none") and (origin is None or origin.partition("://")[2] == self.host)


def _weights(accept: str) -> dict[str, float]:
    """Return the weights of the types that an `Accept` header names."""
    weights = {}
    for each in accept.lower().split(","):
        name, *parameters = (part.strip() for part in each.split(";"))
        weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        try:
            weights[name] = float(weight)
        except ValueError:
            weights[name] = 0.0
    return weights
