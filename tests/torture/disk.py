"""A simulated disk: knows for each file what is synced and what is not, and what a power cut may leave of it.

SQLite works on real files, whose state stands for the page cache of the system. Beside them, the disk keeps what is
durable, and each later change until it is synced. A cut makes of that the files that the machine finds when it starts
again; what the process does afterwards has not happened. While the disk is mounted, all connections of the process that
name no other VFS go through it.
"""

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import apsw

SECTOR_BYTES = 512
_VFS = "simulated disk"
_BASE = "unix"
_NEW_ENTRY_IS_SYNCED = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_SUPER_JOURNAL


class _Write(NamedTuple):
    number: int
    offset: int
    data: bytes


class _Truncation(NamedTuple):
    number: int
    size: int


class _Inode:
    """A file, whatever names it has."""

    def __init__(self, durable: bytes = b"") -> None:
        self.durable = bytearray(durable)
        self.unsynced: list[_Write | _Truncation] = []

    def sync(self, is_dropped: Callable[[], bool]) -> None:
        for change in self.unsynced:
            if isinstance(change, _Write) and is_dropped():
                continue
            _apply(self.durable, change)
        self.unsynced.clear()


class Disk:
    """One directory of a disk whose power fails at a call that is chosen beforehand.

    `dropped` is the share of the synced writes that a bad disk forgets; a good one forgets none.
    """

    def __init__(self, directory: Path, rng: random.Random, *, cut_at: int | None = None, dropped: float = 0.0) -> None:
        self.directory = str(directory.resolve())
        self.calls = 0
        """How often it was asked to change anything."""
        self.cut_at = cut_at
        self.image: dict[str, bytes] | None = None
        """What the cut has left: the files by name."""
        self._rng = rng
        self._dropped = dropped
        self._gate = threading.RLock()
        found = {
            path.name: _Inode(path.read_bytes()) for path in directory.iterdir() if not _is_shared_memory(path.name)
        }
        self._names = dict(found)
        self._durable_names = dict(found)
        self._renamings: list[tuple[str, _Inode | None]] = []

    @property
    def is_off(self) -> bool:
        """Tell whether the power has failed."""
        return self.image is not None

    def cut(self) -> None:
        """Let the power fail now."""
        with self._gate:
            if self.image is None:
                self.image = self._survivors()

    def restore_into(self, directory: Path) -> None:
        """Write what the cut has left into another directory."""
        assert self.image is not None
        directory.mkdir(parents=True)
        for name, content in self.image.items():
            (directory / name).write_bytes(content)

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """Let the connections that are opened within the block go through this disk."""
        vfs = _DiskVfs(self)
        try:
            yield
        finally:
            vfs.unregister()

    @contextmanager
    def change(self) -> Iterator[None]:
        """Hold the disk for one change, before which the power may fail."""
        with self._gate:
            self.calls += 1
            if self.calls == self.cut_at:
                self.cut()
            yield

    def holds(self, path: str) -> bool:
        """Tell whether a file belongs to this disk, and outlives its processes."""
        return os.path.dirname(path) == self.directory and not _is_shared_memory(path)

    def created(self, path: str) -> None:
        """Note a file of this name, unless it is known."""
        name = os.path.basename(path)
        if name not in self._names:
            self._rename(name, _Inode())

    def deleted(self, path: str) -> None:
        """Note that a file has lost its name."""
        self._rename(os.path.basename(path), None)

    def linked(self, source: str, target: str) -> None:
        """Note that a file has one name more, perhaps that of another one."""
        self._rename(os.path.basename(target), self._names[os.path.basename(source)])

    def written(self, path: str, offset: int, data: bytes) -> None:
        """Note an unsynced write."""
        self._inode(path).unsynced.append(_Write(self.calls, offset, data))

    def truncated(self, path: str, size: int) -> None:
        """Note an unsynced change of a file's size."""
        self._inode(path).unsynced.append(_Truncation(self.calls, size))

    def synced(self, path: str, *, with_directory: bool) -> None:
        """Make durable what was written to a file, and perhaps the names of all files."""
        self._inode(path).sync(lambda: self._rng.random() < self._dropped)
        if with_directory:
            self.synced_directory()

    def synced_directory(self) -> None:
        """Make the names of all files durable."""
        self._durable_names = dict(self._names)
        self._renamings.clear()

    def _inode(self, path: str) -> _Inode:
        return self._names[os.path.basename(path)]

    def _rename(self, name: str, inode: _Inode | None) -> None:
        if inode is None:
            self._names.pop(name, None)
        else:
            self._names[name] = inode
        self._renamings.append((name, inode))

    def _survivors(self) -> dict[str, bytes]:
        """Return what may be left: what is synced, and any part of what is not."""
        is_kept = _losses(self._rng, self.calls)
        fills_with_garbage = self._rng.random() < 0.5
        names = dict(self._durable_names)
        for name, inode in self._renamings:
            if not is_kept(self.calls):
                continue
            if inode is None:
                names.pop(name, None)
            else:
                names[name] = inode
        return {name: self._survivor(inode, is_kept, fills_with_garbage) for name, inode in names.items()}

    def _survivor(self, inode: _Inode, is_kept: Callable[[int], bool], fills_with_garbage: bool) -> bytes:
        content = bytearray(inode.durable)
        sector = self._rng.choice((SECTOR_BYTES, 4096, 1 << 30))  # what the disk writes as a whole
        for change in inode.unsynced:
            if isinstance(change, _Truncation):
                if is_kept(change.number):
                    _apply(content, change)
                continue
            for piece in _sectors(change, sector):
                if is_kept(piece.number):
                    _apply(content, piece)
                elif fills_with_garbage and piece.offset + len(piece.data) > len(content):
                    # The file system had written the new size of the file, but not what stands there.
                    _apply(content, piece._replace(data=self._rng.randbytes(len(piece.data))))
        return bytes(content)


def _losses(rng: random.Random, calls: int) -> Callable[[int], bool]:
    """Return what tells of a change, by the number of its call, whether it survives."""
    kind = rng.choice(("none", "all", "prefix", "any", "most"))
    if kind == "prefix":
        last = rng.randint(max(0, calls - 40), calls)
        return lambda number: number <= last
    share = {"none": 0.0, "all": 1.0, "any": rng.random(), "most": 0.9}[kind]
    return lambda _: rng.random() < share


def _sectors(write: _Write, size: int) -> Iterator[_Write]:
    start, end = write.offset, write.offset + len(write.data)
    while start < end:
        stop = min((start // size + 1) * size, end)
        yield _Write(write.number, start, write.data[start - write.offset : stop - write.offset])
        start = stop


def _apply(content: bytearray, change: _Write | _Truncation) -> None:
    if isinstance(change, _Truncation):
        del content[change.size :]
        content.extend(bytes(change.size - len(content)))
        return
    content.extend(bytes(max(0, change.offset - len(content))))
    content[change.offset : change.offset + len(change.data)] = change.data


def _is_shared_memory(path: str) -> bool:
    return path.endswith("-shm")


class _DiskVfs(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__(_VFS, _BASE, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None or not self._disk.holds(path):
            return apsw.VFSFile(_BASE, name, flags)
        is_new = not os.path.exists(path)
        if not is_new or not flags[0] & apsw.SQLITE_OPEN_CREATE:
            file = _DiskFile(self._disk, path, name, flags, is_new=False)
            with self._disk.change():
                self._disk.created(path)  # by other means than SQLite's
            return file
        with self._disk.change():
            file = _DiskFile(self._disk, path, name, flags, is_new=True)
            self._disk.created(path)
        return file

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's name
        if not self._disk.holds(filename):
            super().xDelete(filename, syncdir)
            return
        with self._disk.change():
            super().xDelete(filename, False)
            self._disk.deleted(filename)
            if syncdir:
                self._disk.synced_directory()


class _DiskFile(apsw.VFSFile):
    def __init__(
        self, disk: Disk, path: str, name: str | apsw.URIFilename | None, flags: list[int], *, is_new: bool
    ) -> None:
        self._disk = disk
        self._path = path
        # As the VFS of Unix does: a new journal's or log's first sync makes its name durable too.
        self._must_sync_directory = is_new and bool(flags[0] & _NEW_ENTRY_IS_SYNCED)
        super().__init__(_BASE, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        with self._disk.change():
            super().xWrite(data, offset)
            self._disk.written(self._path, offset, bytes(data))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        with self._disk.change():
            super().xTruncate(newsize)
            self._disk.truncated(self._path, newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        with self._disk.change():
            self._disk.synced(self._path, with_directory=self._must_sync_directory)
            self._must_sync_directory = False
