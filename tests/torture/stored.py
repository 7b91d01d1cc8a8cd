"""Looks at what an accident has left: opens it with the real engine, and reads all of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from swarm_persistence import EventModel, Storage
from swarm_persistence_conformance.records import MODELS
from torture.history import Stored, key_of
from torture.judge import BrokenPromiseError

_OF_PENDING = """
SELECT tasks.id, unmet_dependencies,
  (SELECT count(*) FROM task_links WHERE task_id = tasks.id),
  (SELECT count(DISTINCT value) FROM json_each(tasks.dependencies)
   WHERE value NOT IN (SELECT id FROM tasks WHERE status = 'completed'))
FROM tasks WHERE status = 'pending'
"""


async def all_in(storage: Storage) -> Stored:
    """Return all records, by their keys."""
    return {key_of(record): record for model in MODELS for record in await storage.repository(model).find_all()}


def require_intact(path: Path) -> None:
    """Require that SQLite finds no fault in a file."""
    with _looking_at(path) as connection:
        found = connection.execute("PRAGMA integrity_check").fetchall()
    if found != [("ok",)]:
        raise BrokenPromiseError(f"integrity_check: {found}")


def require_sound(path: Path) -> None:
    """Require that SQLite finds no fault in a file, and that its hidden columns agree with its rows."""
    require_intact(path)
    with _looking_at(path) as connection:
        for id, unmet, links, open_ones in connection.execute(_OF_PENDING):
            if not unmet == links == open_ones:
                raise BrokenPromiseError(
                    f"task {id!r} counts {unmet} unmet dependencies, has {links} links, and waits for {open_ones}"
                )


@contextmanager
def _looking_at(path: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # which needs a lock that a reader cannot have
    try:
        yield connection
    finally:
        connection.close()


async def require_new_numbers(storage: Storage, seen: dict[int, str]) -> None:
    """Require that the next event gets a number that no watcher has seen."""
    event = await storage.store_event(EventModel(event_type="after the accident"))
    if event.sequence is None or event.sequence in seen:
        raise BrokenPromiseError(
            f"the number {event.sequence} of event {seen.get(event.sequence or 0)!r} is given again"
        )
