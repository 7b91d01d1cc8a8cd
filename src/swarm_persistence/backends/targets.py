"""Opens the storage that a path or URL names."""

import os
import sys
from urllib.parse import unquote

from swarm_persistence.errors import OtherError, shown
from swarm_persistence.storage import Storage

DATABASE_VARIABLE = "SWARM_DATABASE_URL"
DEFAULT_PATH = "swarm.db"
DEFAULT_DATABASE = "indexeddb://swarm"
KNOWN_TARGETS = (
    "a file's path, sqlite:///path, postgresql://user:password@host/database, :memory:, indexeddb://name in a browser"
)

_POSTGRES_SCHEMES = ("postgresql", "postgres")
_SCHEMES = ("sqlite", *_POSTGRES_SCHEMES, "indexeddb")
_MIGRATE_OPTIONS = {"migrate=true": True, "migrate=false": False}
_IS_BROWSER = sys.platform == "emscripten"
_DEFAULT = DEFAULT_DATABASE if _IS_BROWSER else DEFAULT_PATH


async def init_storage(target: str | os.PathLike[str] | None = None, *, migrate: bool = True) -> Storage:
    """Open the storage that the target names.

    A target is a file's path, `sqlite:///path`, `postgresql://…`, `:memory:`, or, in a browser, `indexeddb://name`.

    Without a target, `$SWARM_DATABASE_URL` names it; if that is not set, it is `swarm.db` in the current directory, and
    `indexeddb://swarm` in a browser, which has no SQLite.

    With `migrate=False`, or `?migrate=false` in the URL, a file or schema that is missing, or on which this code cannot
    work, is refused instead of migrated. Memory and IndexedDB ignore this.

    Raises:
        OtherError: the scheme is unknown; the message lists the known ones.
        StorageError: opening the storage failed.

    """
    name = _name_of(target)
    if name in (":memory:", "sqlite://", "sqlite:///:memory:"):
        from swarm_persistence.backends.memory import MemoryStorage

        return MemoryStorage()
    scheme, separator, rest = name.partition("://")
    if separator and scheme in _POSTGRES_SCHEMES:
        from swarm_persistence.backends.postgres import PostgresStorage

        return await PostgresStorage.open(name, migrate=migrate)
    if scheme == "indexeddb":
        from swarm_persistence.backends.wasm import WasmStorage

        return await WasmStorage.open(_decoded(name, rest))
    path, migrate_option = sqlite_target(name)
    if _IS_BROWSER:
        raise OtherError(
            f"{name!r} is an SQLite file, and a browser has no SQLite; expected indexeddb://name or :memory:"
        )
    from swarm_persistence.backends.sqlite import SqliteStorage

    return await SqliteStorage.open(path, migrate=migrate if migrate_option is None else migrate_option)


def default_target() -> str:
    """Return the target that `init_storage` opens without one: that of `$SWARM_DATABASE_URL`, else the default."""
    return os.environ.get(DATABASE_VARIABLE) or _DEFAULT


def is_local(target: str | os.PathLike[str] | None) -> bool:
    """Tell whether the engine of a target is local, see `Engine.is_local`; raise `OtherError` if it is malformed."""
    return _name_of(target).partition("://")[0] not in (*_POSTGRES_SCHEMES, "indexeddb")


def _name_of(target: str | os.PathLike[str] | None) -> str:
    name = target if target is not None else default_target()
    name = os.fspath(name) if isinstance(name, os.PathLike) else name
    if not isinstance(name, str):
        raise OtherError(f"the target is {shown(name)}, expected {KNOWN_TARGETS}")
    return name


def sqlite_path(name: str) -> str:
    """Return the path that a target for SQLite names; raises as `sqlite_target` does."""
    return sqlite_target(name)[0]


def sqlite_target(name: str) -> tuple[str, bool | None]:
    """Return the path that a target for SQLite names, and its option `migrate`, or `None` without the option.

    The target is a path, or `sqlite:///path`, perhaps with `?migrate=false`.

    Raises:
        OtherError: the target names no file; the message lists the known forms.

    """
    scheme, separator, rest = name.partition("://")
    if not separator:
        if not name:
            raise OtherError(f"the target is empty, expected {KNOWN_TARGETS}")
        start, colon, _ = name.partition(":")
        if colon and start in _SCHEMES:
            raise OtherError(
                f"{start}:… lacks the // of a URL, expected {KNOWN_TARGETS}; a file of such a name is ./{start}:…"
            )
        return name, None
    if scheme != "sqlite":
        # The rest of the target may contain a password.
        raise OtherError(f"{scheme}://… names no storage that this package knows, expected {KNOWN_TARGETS}")
    path, mark, options = rest.partition("?")
    if not path.startswith("/") or (mark and options not in _MIGRATE_OPTIONS):
        raise OtherError(
            f"{name!r} is not an SQLite URL, expected sqlite:///relative/path or sqlite:////absolute/path, and no "
            "option but ?migrate=true or ?migrate=false"
        )
    return _decoded(name, path[1:]), _MIGRATE_OPTIONS.get(options)


def _decoded(url: str, text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise OtherError(f"{url!r} is not a UTF-8 URL: {text!r} decodes to other bytes") from error
