"""Parses a PostgreSQL URL into servers, user and options, and shows it without its password."""

from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from swarm_persistence.engines.sql.postgres.settings import OPTIONS, PostgresSettings
from swarm_persistence.errors import OtherError

SCHEMES = ("postgresql", "postgres")

_DEFAULT_PORT = 5432
_LAST_PORT = 65535
_SERVER_OPTIONS = frozenset(
    {
        "application_name",
        "database",
        "dbname",
        "gsslib",
        "host",
        "krbsrvname",
        "options",
        "passfile",
        "password",
        "port",
        "service",
        "sslcert",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslnegotiation",
        "sslpassword",
        "sslrootcert",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "target_session_attrs",
        "user",
    }
)
_OWN_NAMES = {"connect_timeout": "connection_timeout"}  # libpq's name for it


class PostgresUrl:
    """A parsed URL. Its `str`, which is a URL as well, and its `repr` hold no user and no password."""

    def __init__(self, url: str) -> None:
        if not isinstance(url, str):
            # Not shown: bytes may hold a password.
            raise OtherError(f"the PostgreSQL URL is of type {type(url).__name__}, expected {EXPECTED}")
        try:
            url.encode()  # so that no lone surrogate comes up later, in an error that holds the password
            parts = urlsplit(url)
            _require_one_userinfo(parts)
            options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query), keep_blank_values=True))
        except ValueError:
            raise OtherError(f"the PostgreSQL URL cannot be read, expected {EXPECTED}") from None
        if parts.scheme not in SCHEMES or parts.fragment:
            raise OtherError(f"the URL is not a PostgreSQL URL, expected {EXPECTED}")
        _require_no_channel_binding(options.pop("channel_binding", "prefer"))
        unknown = sorted(options.keys() - _SERVER_OPTIONS - OPTIONS - _OWN_NAMES.keys())
        if unknown:
            known = ", ".join(sorted({*_SERVER_OPTIONS, *OPTIONS, "channel_binding"}))
            raise OtherError(f"the URL has the unknown option {unknown[0]!r}; the known ones are {known}")
        self._own_options = {
            _OWN_NAMES.get(name, name): value for name, value in options.items() if name not in _SERVER_OPTIONS
        }
        hosts, ports = options.pop("host", ""), options.pop("port", "")
        self.hosts = _hosts(parts.netloc.rpartition("@")[2] or hosts, ports)
        kept = {name: value for name, value in options.items() if name in _SERVER_OPTIONS}
        if len(self.hosts) > 1:
            kept.setdefault("target_session_attrs", "read-write")
        self.application_name = options.get("application_name")
        """The application name, if the URL gives one."""
        self.seeks_primary = kept.get("target_session_attrs") in ("read-write", "primary")
        """Whether the URL asks for a primary."""
        self.database = unquote(parts.path[1:]) or options.get("dbname") or options.get("database") or ""
        user = parts.netloc.rpartition("@")[0]
        self.dsn = urlunsplit((parts.scheme, f"{user}@" if user else "", parts.path, urlencode(kept), ""))
        """The driver's connection string, without hosts. It holds the password: never log it."""

    def settings(self, defaults: PostgresSettings) -> PostgresSettings:
        """Return the settings, overridden by the options of the URL."""
        return defaults.changed_by(self._own_options).checked()

    def command(self, verb: str, schema: str) -> str:
        """Return a shell command of this package for a schema of this database."""
        return f"swarm-persistence {verb} '{self}?schema={schema}'"

    def name_of(self, host: str | None, port: int | None) -> str:
        """Return the name of a server for messages."""
        return "the default server" if host is None else f"{host}:{port or _DEFAULT_PORT}"

    def __str__(self) -> str:
        servers = ",".join(_shown_server(host, port) for host, port in self.hosts)
        return f"postgresql://{servers}/{quote(self.database)}"

    def __repr__(self) -> str:
        return f"PostgresUrl({str(self)!r})"


def shown(url: str) -> str:
    """Return a URL without its password, fit for printing; one that cannot be parsed is hidden almost entirely."""
    try:
        parts = urlsplit(url)
        _require_one_userinfo(parts)
    except (ValueError, OtherError):
        return f"{url.partition('://')[0]}://…"
    userinfo, at, servers = parts.netloc.rpartition("@")
    user, colon, _ = userinfo.partition(":")
    options = [_shown_option(option) for option in parts.query.split("&")]
    netloc = f"{user}{colon and ':***'}{at}{servers}"
    return parts._replace(netloc=netloc, query="&".join(options)).geturl()


EXPECTED = "postgresql://user:password@host:5432/database, with options as ?name=value&…"


def _require_one_userinfo(parts: SplitResult) -> None:
    # The text before it may be part of a password, so no message may contain it.
    if any("@" in part for part in (parts.path, parts.query, parts.fragment)):
        raise OtherError(
            "the URL has an @ after the server's name; in a user name or password, write / as %2F, ? as %3F and # as "
            "%23, and everywhere @ as %40"
        )


def _require_no_channel_binding(use: str) -> None:
    if use == "require":
        raise OtherError(
            "channel_binding=require cannot be kept, as asyncpg knows no channel binding; leave it out, and let "
            "sslmode=verify-full make sure that the server is the right one"
        )
    if use not in ("disable", "prefer"):
        raise OtherError(f"channel_binding is {use!r}, expected disable or prefer")


def _shown_server(host: str | None, port: int | None) -> str:
    """Return a server in the form of a URL."""
    if host is None:
        return "" if port is None else f":{port}"
    return f"{f'[{host}]' if ':' in host else quote(host, safe='')}:{port or _DEFAULT_PORT}"


def _shown_option(option: str) -> str:
    name, equals, _ = option.partition("=")
    # Misspelt ones as well; a `passfile` is a path.
    is_secret = "pass" in unquote(name).lower() and name != "passfile"
    return f"{name}{equals}***" if equals and is_secret else option


def _hosts(servers: str, ports: str) -> list[tuple[str | None, int | None]]:
    """Return the servers in order; without any, the driver's default."""
    named: list[tuple[str | None, int | None]] = [(None, None)]
    if servers:
        named = [_host_and_port(server) for server in servers.split(",")]
    if not ports:
        return named
    numbers = [_port(port) for port in ports.split(",")]
    if len(numbers) == 1:
        numbers *= len(named)
    if len(numbers) != len(named):
        raise OtherError("the PostgreSQL URL names as many ports as hosts, or one for all")
    return [(host, number if port is None else port) for (host, port), number in zip(named, numbers, strict=True)]


def _host_and_port(server: str) -> tuple[str | None, int | None]:
    if server.startswith("["):
        host, _, rest = server[1:].partition("]")
        port = rest.removeprefix(":")
    elif server.startswith("/"):
        host, port = server, ""
    else:
        host, _, port = server.partition(":")
    return unquote(host) or None, _port(port) if port else None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= _LAST_PORT):
        raise OtherError(f"a port of the PostgreSQL URL is not a number from 1 to {_LAST_PORT}")
    return int(text)
