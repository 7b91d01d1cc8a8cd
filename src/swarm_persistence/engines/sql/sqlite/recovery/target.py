"""The new database that receives the rows; each is decoded before it is stored, so that all of them are readable."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import apsw

from swarm_persistence.engines.sql.sqlite import schema_version
from swarm_persistence.engines.sql.sqlite.recovery.cells import Value
from swarm_persistence.engines.sql.sqlite.recovery.losses import Loss, loss_of, readable_values
from swarm_persistence.engines.sql.sqlite.recovery.shapes import Shape
from swarm_persistence.engines.sql.sqlite.recovery.source import FoundRow
from swarm_persistence.errors import SerializationError
from swarm_persistence.query.text import listed

MARGIN = 1_000_000
"""Added to the highest known number where higher ones may have been assigned, so that none is assigned twice."""


class Target:
    """A database that is being filled, in one transaction."""

    def __init__(self, path: Path) -> None:
        self.connection = apsw.Connection(str(path))
        for pragma in ("journal_mode = MEMORY", "synchronous = FULL"):
            self.connection.execute(f"PRAGMA {pragma}").fetchall()
        schema_version.migrate(self.connection)
        self.connection.execute("BEGIN IMMEDIATE").fetchall()
        self._misnumbered: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, shape: Shape, row: FoundRow, *, only_missing: bool = False) -> Loss | None:
        """Store a row; return the reason if it cannot be stored. A row that the target holds already is not lost.

        Of two rows with one id, the one of the higher version stays, else the first.
        """
        try:
            values = readable_values(shape, row)
            self._insert(shape, values, only_missing=only_missing)
            if row.is_misnumbered:
                self._misnumbered[shape.table].add(values["id"])
        except (SerializationError, ValueError) as error:
            return loss_of(shape, row, str(error))
        except apsw.Error as error:
            return loss_of(shape, row, f"it cannot be stored (SQLite: {error})")
        return None

    def ids(self, shape: Shape) -> dict[int, str]:
        """Return the ids of the stored rows by their rowids."""
        return dict(self._execute(f"SELECT {_rowid_of(shape)}, id FROM {shape.table}"))

    def give_id(self, shape: Shape, rowid: int, id: str) -> None:
        """Change the id of a row."""
        self._execute(f"UPDATE {shape.table} SET id = ? WHERE {_rowid_of(shape)} = ?", (id, rowid))

    def renumber(self, shape: Shape, rows: Mapping[int, str]) -> None:
        """Correct damaged rowids by those of an index, given as ids by rowid."""
        table, key, doubtful = shape.table, _rowid_of(shape), self._misnumbered[shape.table]
        right = {id: rowid for rowid, id in rows.items() if id in doubtful}
        for id, rowid in right.items():
            # Move them to free numbers first, as two rows may swap theirs.
            self._execute(f"UPDATE {table} SET {key} = ? WHERE id = ?", (-1 - rowid, id))
        for id, rowid in right.items():
            if not self._execute(f"SELECT 1 FROM {table} WHERE {key} = ?", (rowid,)):
                self._execute(f"UPDATE {table} SET {key} = ? WHERE id = ?", (rowid, id))
        highest: int = self.connection.execute(f"SELECT max({key}) FROM {table}").get
        for place, (id,) in enumerate(self._execute(f"SELECT id FROM {table} WHERE {key} < 0"), 1):
            self._execute(f"UPDATE {table} SET {key} = ? WHERE id = ?", (highest + place, id))

    def count(self, table: str) -> int:
        """Count the rows of a table."""
        number: int = self.connection.execute(f"SELECT count(*) FROM {table}").get
        return number

    def replace_all(self, shape: Shape, rows: Iterable[list[Value]]) -> None:
        """Replace all rows of a table of numbers by these."""
        self.connection.execute(f"DELETE FROM {shape.table}").fetchall()
        for row in rows:
            self.connection.execute(f"INSERT INTO {shape.table} VALUES ({', '.join('?' * len(row))})", row).fetchall()

    def raise_event_floor(self, number: int) -> None:
        """Record this as the position of the last event ever stored, unless a later one is known."""
        text = (
            "UPDATE event_floor SET number = max(number, ?) WHERE ? > (SELECT coalesce(max(sequence), 0) FROM events)"
        )
        self._execute(text, (number, number))

    def _execute(self, statement: str, bindings: tuple[Any, ...] = ()) -> list[Any]:
        return self.connection.execute(statement, bindings).fetchall()

    def finish(self) -> None:
        """Check that the database is sound, and make it durable."""
        self.connection.execute("COMMIT").fetchall()
        problems = self.connection.execute("PRAGMA integrity_check").fetchall()
        if problems != [("ok",)]:
            raise apsw.CorruptError(f"the new database is not sound: {problems[:3]}")
        self.connection.execute("PRAGMA journal_mode = WAL").fetchall()  # as it is used from now on

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def _insert(self, shape: Shape, values: dict[str, Any], *, only_missing: bool) -> None:
        known = self.connection.execute(f"SELECT * FROM {shape.table} WHERE id = ?", (values["id"],)).fetchall()
        if known:
            stored = dict(zip((column.name for column in shape.columns), known[0], strict=True))
            if only_missing or values.get("version", 0) <= stored.get("version", 0):
                return
            self.connection.execute(f"DELETE FROM {shape.table} WHERE id = ?", (values["id"],)).fetchall()
        key = _rowid_of(shape)
        if self.connection.execute(f"SELECT 1 FROM {shape.table} WHERE {key} = ?", (values[key],)).fetchall():
            self._misnumbered[shape.table].add(values["id"])
            values = {**values, key: None}  # behind all others, until `renumber` corrects it
        marks = ", ".join("?" * len(values))
        text = f"INSERT INTO {shape.table} ({listed(values)}) VALUES ({marks})"
        self.connection.execute(text, tuple(values.values())).fetchall()


def _rowid_of(shape: Shape) -> str:
    return next(column.name for column in shape.columns if column.is_rowid)
