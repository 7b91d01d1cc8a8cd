"""Detects commits that SQLite silently drops because an earlier frame of the log is damaged."""

import logging
from contextlib import closing
from pathlib import Path

import apsw

from swarm_persistence.engines.sql.sqlite.log import commits_behind, is_in_database
from swarm_persistence.errors import DatabaseError

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
