"""Gives a file its name once it is whole and on the disk: no reader ever meets a half, and no other file is lost."""

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
"""A partial file that was not written to for so long has lost its process."""
COMPANIONS = ("-wal", "-shm", "-journal")
"""What the names of the files end in that SQLite keeps beside a database's."""
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EACCES})

_sync_data = getattr(os, "fdatasync", os.fsync)


class PartialFile:
    """A file in the making, in the directory of its later name."""

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
        """Bring what was written so far to the disk: in small portions, it does not hold up other files' commits."""
        _sync_data(self.descriptor)

    def close(self) -> None:
        """Bring the file to the disk, and let go of it. A second call does nothing."""
        if self.descriptor >= 0:
            descriptor, self.descriptor = self.descriptor, -1
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def publish(self) -> None:
        """Give it its name; `OtherError` if another file has that name by now."""
        self.close()
        if self._is_linked():
            os.unlink(self.path)
        else:
            # Without links, a file system cannot refuse to replace a file: look first.
            require_no_file(self.target)
            os.rename(self.path, self.target)
        self._is_placed = True
        sync_directory_of(self.target)

    def replace(self) -> None:
        """Give it its name, in place of the file that has it."""
        self.close()
        os.replace(self.path, self.target)
        self._is_placed = True
        sync_directory_of(self.target)

    def _is_linked(self) -> bool:
        """Give it its name beside the one it has, and tell whether the file system can do that."""
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
        """Remove it, unless it has got its name."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        if not self._is_placed:
            for path in glob.glob(f"{glob.escape(self.path)}*"):
                with suppress(FileNotFoundError):
                    os.unlink(path)


@contextmanager
def partial_file(target: str) -> Iterator[PartialFile]:
    """Create a partial file for the block, after removing those that killed processes have left behind.

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
    """Refuse what no file may be written to, nor take the place of: `target` stands without links, as far as they lead.

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
    """Raise `OtherError` if there is anything at the path."""
    if os.path.lexists(path):
        raise exists_already(path)


def exists_already(path: str) -> OtherError:
    """Return the error that says that another file has the name already."""
    return OtherError(f"{path!r} exists already, and was left as it is; name another file, or ask to overwrite it")


def sync_directory_of(path: str) -> None:
    """Bring the names in a file's directory to the disk."""
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
