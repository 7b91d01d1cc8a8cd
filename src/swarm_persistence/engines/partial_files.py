"""Publishes a file under its name once it is complete and synced: no reader sees a part, and no file is lost."""

import errno
import glob
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from swarm_persistence.errors import DatabaseError, OtherError

_MODE = 0o600  # records may hold secrets
_ENDING = ".partial"
_LEFTOVER_SECONDS = 3600.0
"""A partial file that was not written to for so long is stale: its process was killed."""
COMPANIONS = ("-wal", "-shm", "-journal")
"""The suffixes of the files that SQLite keeps beside a database."""
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EACCES})

_sync_data = getattr(os, "fdatasync", os.fsync)


class PartialFile:
    """A file under a temporary name, in the directory of its final name."""

    def __init__(self, target: str) -> None:
        """Create it, for its owner only."""
        self.target = target
        self.path = f"{target}.{secrets.token_hex(4)}{_ENDING}"
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        self._is_placed = False

    def write(self, text: bytes) -> None:
        """Write at the end."""
        while text:
            text = text[os.write(self.descriptor, text) :]

    def sync_data(self) -> None:
        """Sync the bytes written so far; small portions do not delay the commits of other files."""
        _sync_data(self.descriptor)

    def close(self) -> None:
        """Sync the file and close its descriptor. A second call does nothing."""
        if self.descriptor >= 0:
            descriptor, self.descriptor = self.descriptor, -1
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def publish(self) -> None:
        """Give it its final name; raise `OtherError` if another file has that name by now."""
        self.close()
        if self._is_linked():
            os.unlink(self.path)
        else:
            # A file system without hard links cannot refuse to replace a file, so check first.
            require_no_file(self.target)
            os.rename(self.path, self.target)
        self._is_placed = True
        sync_directory_of(self.target)

    def replace(self) -> None:
        """Give it its final name, replacing the file that has it."""
        self.close()
        os.replace(self.path, self.target)
        self._is_placed = True
        sync_directory_of(self.target)

    def _is_linked(self) -> bool:
        """Link the final name to it, and return whether the file system can do that."""
        if not hasattr(os, "link"):  # in a browser
            return False
        try:
            os.link(self.path, self.target)
        except FileExistsError:
            raise exists_already(self.target) from None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return False
        return True

    def discard(self) -> None:
        """Remove the partial file, unless it was published."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        if not self._is_placed:
            for path in glob.glob(f"{glob.escape(self.path)}*"):
                with suppress(FileNotFoundError):
                    os.unlink(path)


@contextmanager
def partial_file(target: str) -> Iterator[PartialFile]:
    """Create a partial file for the block, and remove stale ones of killed processes.

    Raises:
        DatabaseError: the directory is missing, or the file cannot be created, written or renamed.

    """
    try:
        _remove_leftovers(target)
        partial = PartialFile(target)
    except OSError as error:
        raise DatabaseError(f"{target!r} cannot be created: {error.strerror}") from error
    try:
        yield partial
    except OSError as error:
        raise DatabaseError(f"{target!r} cannot be written: {error.strerror}; it was left as it was") from error
    finally:
        partial.discard()


def require_target(target: str, source: str | None = None) -> None:
    """Refuse a path that no file can be written to; `target` has its symbolic links resolved.

    Raises:
        DatabaseError: it is a directory, a device, a pipe or a link to itself, or SQLite uses such a name by itself.
        OtherError: it is the source, perhaps by another name.

    """
    for suffix in COMPANIONS:
        if target.endswith(suffix):
            raise DatabaseError(
                f"{target!r} ends in {suffix}: SQLite gives such a name to a file of its own, and deletes it"
            )
    if os.path.islink(target):
        raise DatabaseError(f"{target!r} cannot be followed: Too many levels of symbolic links")
    if os.path.isdir(target):
        raise DatabaseError(f"{target!r} is a directory; give the path of a file")
    if os.path.exists(target):
        if not os.path.isfile(target):
            raise DatabaseError(f"{target!r} is a device, a pipe or a socket; give the path of a file")
        if source is not None and os.path.exists(source) and os.path.samefile(source, target):
            raise OtherError(f"{target!r} is both the source and the target; name another file")


def require_no_file(path: str) -> None:
    """Raise `OtherError` if the path exists, also as a dangling link."""
    if os.path.lexists(path):
        raise exists_already(path)


def exists_already(path: str) -> OtherError:
    """Return the error for a name that another file has."""
    return OtherError(f"{path!r} exists already, and was left as it is; name another file, or ask to overwrite it")


def sync_directory_of(path: str) -> None:
    """Sync the directory of a file, and with it the names there."""
    descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftovers(target: str) -> None:
    for path in glob.glob(f"{glob.escape(target)}.{'[0-9a-f]' * 8}{_ENDING}*"):
        with suppress(FileNotFoundError):
            if time.time() - os.stat(path).st_mtime > _LEFTOVER_SECONDS:
                os.unlink(path)
