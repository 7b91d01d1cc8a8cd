"""Reads a write-ahead log by SQLite's file format, and distinguishes sound, stale and damaged frames.

SQLite silently drops commits behind a damaged frame; opening a file reports them.
"""

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from struct import Struct as Layout
from struct import unpack_from

import apsw
import msgspec

from swarm_persistence.engines.sql.sqlite.raw_file import RawFile, open_if_exists
from swarm_persistence.errors import DatabaseError

_HEADER = Layout(">IIII8sII")
_FRAME = Layout(">II8sII")
_MAGICS = {0x377F0682: "<", 0x377F0683: ">"}
_LARGEST_PAGE = 65536
_RESERVED_AT = 20
_STALE_FRAMES_IN_A_ROW = 64
"""So many consecutive frames of an earlier use of the log are not damage: the rest is of earlier uses, too."""


class Frame(msgspec.Struct, frozen=True):
    """A page as a transaction has written it."""

    number: int
    page: int
    pages_after_commit: int
    """The size of the database in pages after the transaction, in the frame that ends it; 0 in the others."""
    offset: int
    """Where the page begins in the log."""
    is_sound: bool


class Log(msgspec.Struct, frozen=True):
    """The content of a log: its frames up to the first one of an earlier use of the file."""

    page_size: int
    has_header: bool
    """Whether its header is sound; otherwise SQLite ignores the log."""
    frames: tuple[Frame, ...]

    def applied(self) -> tuple[Frame, ...]:
        """Return the frames that SQLite applies: those before the first damaged one, up to the last commit."""
        sound = next((place for place, frame in enumerate(self.frames) if not frame.is_sound), len(self.frames))
        return _committed(self.frames[:sound]) if self.has_header else ()

    def last_state_of(self, page: int) -> Frame | None:
        """Return the frame that holds the last state of a page; `None` if the page is not in the log."""
        return next((frame for frame in reversed(self.applied()) if frame.page == page), None)

    def dropped(self) -> tuple[Frame, ...]:
        """Return the committed frames that SQLite does not apply, because a damaged one precedes them."""
        return _committed(self.frames)[len(self.applied()) :]


def read_log(path: Path, page_size_of_file: int = 0) -> Log | None:
    """Read the log of this path; `None` if it is missing, or holds no frame.

    A log with a damaged header is read with the page size of its file.
    """
    file = open_if_exists(path)
    if file is None:
        return None
    with file:
        return _read(file, page_size_of_file)


def dropped_commits(path: Path) -> int:
    """Count the commits of a log that SQLite does not apply; 0 if there is no log."""
    log = read_log(path)
    return 0 if log is None else sum(frame.pages_after_commit > 0 for frame in log.dropped())


def commits_behind(path: Path, number: int) -> int:
    """Count the commits after frame `number` since the log was reset; reads frame headers only, no pages."""
    file = open_if_exists(path)
    if file is None:
        return 0
    with file:
        return sum(pages_after_commit > 0 for _, pages_after_commit, _ in _frames_since_reset(file, number))


def is_in_database(path: Path, database: Path) -> bool:
    """Tell whether the database's file holds all pages as the last commit of its log has left them.

    This is the state between the reset of a log and the next write, which replaces the old frames: SQLite applies none.
    """
    log, file = open_if_exists(path), open_if_exists(database)
    if log is None or file is None:
        return False
    with log, file:
        places: dict[int, int] = {}
        committed: dict[int, int] = {}
        pages = 0
        for page, pages_after_commit, offset in _frames_since_reset(log, 0):
            places[page] = offset
            if pages_after_commit:
                pages = pages_after_commit
                committed.update(places)
                places.clear()
        page_size = int.from_bytes(log.read(8, 4))
        # The page's checksum is written only by a checkpoint.
        content = page_size - (file.read(_RESERVED_AT, 1) or b"\0")[0]
        return all(
            log.read(offset, content) == file.read((page - 1) * page_size, content)
            for page, offset in committed.items()
            if page <= pages
        )


def _frames_since_reset(file: RawFile, number: int) -> Iterator[tuple[int, int, int]]:
    """Yield page, size after the commit, and place of the page of the frames after frame `number`, damaged or not."""
    header = file.read(0, _HEADER.size)
    if len(header) < _HEADER.size:
        return
    _, _, page_size, _, salts, _, _ = _HEADER.unpack(header)
    if not _is_page_size(page_size):
        return
    stale = 0
    step = _FRAME.size + page_size
    for offset in range(_HEADER.size + number * step, file.size - step + 1, step):
        page, pages_after_commit, frame_salts, _, _ = _FRAME.unpack(file.read(offset, _FRAME.size))
        if frame_salts == salts:
            stale = 0
            yield page, pages_after_commit, offset + _FRAME.size
            continue
        stale += 1
        if stale == _STALE_FRAMES_IN_A_ROW:
            return


def _read(file: RawFile, page_size_of_file: int) -> Log | None:
    if file.size < _HEADER.size + _FRAME.size:
        return None
    header = file.read(0, _HEADER.size)
    magic, _, page_size, _, salts, first, second = _HEADER.unpack(header)
    order = _MAGICS.get(magic, "")
    has_header = bool(order) and _is_page_size(page_size) and checksum(header[:24], 0, 0, order) == (first, second)
    if not has_header:
        page_size, order = page_size_of_file, order or "<"
        salts = _FRAME.unpack(file.read(_HEADER.size, _FRAME.size))[2]
    if not _is_page_size(page_size):
        return None
    frames = tuple(_frames(file, page_size, salts, (first, second), order))
    return Log(page_size, has_header, frames)


def _frames(file: RawFile, page_size: int, salts: bytes, before: tuple[int, int], order: str) -> Iterator[Frame]:
    """Yield the frames of one use of the file; the checksum of each continues that of the frame before."""
    step = _FRAME.size + page_size
    for number, offset in enumerate(range(_HEADER.size, file.size - step + 1, step), 1):
        data = file.read(offset, step)
        page, pages_after_commit, frame_salts, first, second = _FRAME.unpack_from(data)
        if frame_salts != salts:
            following = range(offset + step, offset + _STALE_FRAMES_IN_A_ROW * step, step)
            if not any(_has_salts(file, each, salts) for each in following):
                return
            yield Frame(number, 0, 0, offset + _FRAME.size, False)
        else:
            found = checksum(data[_FRAME.size :], *checksum(data[:8], *before, order), order)
            is_sound = page > 0 and found == (first, second)
            yield Frame(number, page, pages_after_commit if is_sound else 0, offset + _FRAME.size, is_sound)
        before = first, second


def _has_salts(file: RawFile, offset: int, salts: bytes) -> bool:
    """Tell whether this frame belongs to this use of the file; if so, earlier ones are damaged, not stale."""
    header = file.read(offset, _FRAME.size)
    return len(header) == _FRAME.size and _FRAME.unpack(header)[2] == salts


def checksum(data: bytes, first: int, second: int, order: str) -> tuple[int, int]:
    """Continue SQLite's checksum with these bytes; `order` is `<` or `>`."""
    words = iter(unpack_from(f"{order}{len(data) // 4}I", data))
    for word in words:
        first = (first + word + second) & 0xFFFFFFFF
        second = (second + next(words) + first) & 0xFFFFFFFF
    return first, second


def _is_page_size(number: int) -> bool:
    return 512 <= number <= _LARGEST_PAGE and number & (number - 1) == 0


def _committed(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    last = max((place for place, frame in enumerate(frames, 1) if frame.pages_after_commit), default=0)
    return frames[:last]


_log = logging.getLogger(__name__)


def report_dropped_commits(connection: apsw.Connection, path: str, *, is_refused: bool) -> None:
    """Log dropped commits; with `is_refused`, raise instead if a durable call has acknowledged one of them.

    A power cut can tear only the last commit, which was not yet synced. So of two or more dropped commits, all but the
    last were acknowledged, unless `durability="normal"` wrote them.

    Raises:
        DatabaseError: the next write would destroy acknowledged commits; nothing was changed.

    """
    if not _count(connection, path)[0]:
        return
    # A count takes two reads, between which another process may have committed.
    connection.execute("BEGIN IMMEDIATE").fetchall()
    try:
        with closing(apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE, vfs=connection.open_vfs)) as other:
            other.execute("PRAGMA schema_version").fetchall()  # makes SQLite read the index of the log
            dropped, frame = _count(other, path)
    finally:
        connection.execute("ROLLBACK").fetchall()
    if dropped > 1 and is_refused:
        # Closing the last connection would checkpoint the log and delete it.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        raise DatabaseError(
            f"{path!r}: its log is damaged at frame {frame + 1}, and SQLite would drop {dropped} commits behind it; "
            "nothing was changed. `swarm-persistence recover` reads them as well; "
            'durability="normal" opens the file without them'
        )
    if dropped > 1:
        _log.error("%r: its log is damaged at frame %d; %d commits behind it are lost", path, frame + 1, dropped)
    elif dropped:
        _log.warning("%r: the last commit in its log is torn at frame %d and is not applied", path, frame + 1)


def _count(connection: apsw.Connection, path: str) -> tuple[int, int]:
    """Return how many commits follow the last frame that SQLite applies, and the number of that frame."""
    frame, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
    if frame < 0:
        return 0, 0
    log = Path(f"{path}-wal")
    behind = commits_behind(log, frame)
    if behind and not frame and is_in_database(log, Path(path)):
        # A process was killed while it truncated the log after a checkpoint, and others have the file open.
        return 0, 0
    return behind, frame
