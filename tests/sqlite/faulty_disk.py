"""A VFS whose calls fail when a test says so: the faults of a disk, on a real file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import apsw

_numbers = count()

Fault = Callable[[str, str], int | None]
"""Gets a method of the VFS and the file's name; gives the extended result code of a failure, or `None`."""


class FaultyDisk(apsw.VFS):
    """SQLite's own VFS, whose methods ask `fault` first."""

    def __init__(self) -> None:
        self.name = f"faulty-{next(_numbers)}"
        self.fault: Fault | None = None
        self.calls: list[tuple[str, str]] = []
        super().__init__(self.name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        self.meet("xOpen", path)
        return _FaultyFile(self, path, name, flags)

    def meet(self, method: str, path: str) -> None:
        """Take note of a call, and let it fail if it shall."""
        if self.fault is None:
            return
        self.calls.append((method, path))
        code = self.fault(method, path)
        if code is not None:
            raise apsw.exception_for(code)


class _FaultyFile(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, path: str, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        self._path = path
        super().__init__("", name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        self._disk.meet("xRead", self._path)
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.meet("xWrite", self._path)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.meet("xSync", self._path)
        super().xSync(flags)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._disk.meet("xTruncate", self._path)
        super().xTruncate(size)

    def xFileSize(self) -> int:  # noqa: N802
        self._disk.meet("xFileSize", self._path)
        return super().xFileSize()

    def xLock(self, level: int) -> None:  # noqa: N802
        self._disk.meet("xLock", self._path)
        super().xLock(level)


@contextmanager
def faulty_disk() -> Iterator[FaultyDisk]:
    """Give a disk that is registered within the block."""
    disk = FaultyDisk()
    try:
        yield disk
    finally:
        disk.unregister()
