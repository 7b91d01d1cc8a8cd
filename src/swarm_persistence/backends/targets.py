"""Opens the storage that a path or URL names."""

import os
from urllib.parse import unquote

from swarm_persistence.errors import OtherError
from swarm_persistence.storage import Storage

DATABASE_VARIABLE = "SWARM_DATABASE_URL"
DEFAULT_PATH = "swarm.db"
KNOWN_TARGETS = "a file's path, sqlite:///path, :memory:"


async def init_storage(target: str | os.PathLike[str] | None = None) -> Storage:
    """Open the storage that the target names: a file's path, `sqlite:///path`, or `:memory:`.

    Without a target, `$SWARM_DATABASE_URL` names it; if that is not set, it is `swarm.db` in the current directory.

    Raises:
        OtherError: the scheme is unknown; the text lists the known ones.
        StorageError: what the storage raises when it is opened.

    """
    name = os.fspath(target if target is not None else os.environ.get(DATABASE_VARIABLE) or DEFAULT_PATH)
    if name in (":memory:", "sqlite://", "sqlite:///:memory:"):
        from swarm_persistence.backends.memory import MemoryStorage

        return MemoryStorage()
    from swarm_persistence.backends.sqlite import SqliteStorage

    return await SqliteStorage.open(_sqlite_path(name))


def _sqlite_path(name: str) -> str:
    scheme, separator, rest = name.partition("://")
    if not separator:
        if not name:
            raise OtherError(f"the target is empty, expected {KNOWN_TARGETS}")
        return name
    if scheme != "sqlite":
        shown = f"{scheme}://…"  # the rest may hold a password
        raise OtherError(f"{shown} names no storage that this package knows, expected {KNOWN_TARGETS}")
    if not rest.startswith("/") or "?" in rest:
        raise OtherError(f"{name!r} is no SQLite URL, expected sqlite:///relative/path or sqlite:////absolute/path")
    return unquote(rest[1:])
