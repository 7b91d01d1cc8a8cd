"""Finds the readers that prevent a checkpoint; `python -m swarm_persistence.cli.log_readers INDEX` prints them as JSON.

It runs in a process of its own, since closing any descriptor of the log's index drops the locks that the process holds
there, and this process may have a storage open.
"""

import subprocess
import sys
import time
from pathlib import Path
from struct import Struct

import msgspec

_LOOKS = 10
_OLD_READER_SECONDS = 1.0

# https://sqlite.org/walformat.html#the_wal_index_file_format
_FRAMES = Struct("=16xI")
_MARKS = Struct("=96xI5I")
_FIRST_READ_LOCK = 123
_LOCK = Struct("@hhqqi")


class OldReader(msgspec.Struct, frozen=True):
    """A process that reads an old snapshot, from before the last commit."""

    process: int
    frame: int
    """The last frame of the log that it sees."""


def old_readers(index: Path) -> list[OldReader]:
    """Return the readers that keep an old snapshot for a second; takes that long if there are any."""
    if sys.platform != "linux":
        return []  # other systems keep their locks in another form
    command = [sys.executable, "-P", "-m", __name__, str(index)]
    done = subprocess.run(command, capture_output=True, check=True)
    return msgspec.json.decode(done.stdout, type=list[OldReader])


def _persistent_readers(index: Path) -> set[OldReader]:
    persistent = _readers(index)
    for _ in range(_LOOKS - 1):
        if not persistent:
            break
        time.sleep(_OLD_READER_SECONDS / (_LOOKS - 1))
        persistent &= _readers(index)
    return persistent


def _readers(index: Path) -> set[OldReader]:
    """Return the readers that do not see the last commit."""
    import fcntl

    if not index.exists():
        return set()  # the last connection was closed meanwhile
    with index.open("rb") as file:
        header = file.read(_MARKS.size)
        if len(header) < _MARKS.size:
            return set()
        (frames,) = _FRAMES.unpack_from(header)
        copied, *marks = _MARKS.unpack(header)
        marks[0] = copied  # the first one is for readers that need no log
        found = set()
        for place, mark in enumerate(marks):
            wanted = _LOCK.pack(fcntl.F_WRLCK, 0, _FIRST_READ_LOCK + place, 1, 0)
            kind, *_, process = _LOCK.unpack(fcntl.fcntl(file, fcntl.F_GETLK, wanted))
            if kind != fcntl.F_UNLCK and mark < frames:
                found.add(OldReader(process, mark))
        return found


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(_persistent_readers(Path(sys.argv[1]))))
