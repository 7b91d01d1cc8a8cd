"""Facts about the schema of a SQLite file: it is what the models and their tables say."""

from typing import Any

import apsw
import pytest

from sqlite.schema_dumps import schema_of, tables_of
from swarm_persistence.engines.sql.sqlite import schema_version, word_index
from swarm_persistence.query.text import quoted
from swarm_persistence.schema.tables import SEQUENCE, TABLES, Column, Index, Kind, Table

_TYPES = {Kind.COUNT: "INTEGER", Kind.VERSION: "INTEGER", Kind.RANK: "INTEGER", Kind.FLAG: "INTEGER"}
_TYPES |= {Kind.TIME: "INTEGER", Kind.REAL: "REAL", Kind.BYTES: "BLOB", Kind.VECTOR: "BLOB"}


class TestSchema:
    """The schema that the migrations make is the one that the models describe."""

    @pytest.fixture(autouse=True)
    def _migrated(self, connection: apsw.Connection) -> None:
        schema_version.migrate(connection)

    def test_there_are_no_other_tables(self, connection: apsw.Connection) -> None:
        names = {name for _, name, _, _ in tables_of(connection)} - {
            schema_version.LOG,
            "sqlite_sequence",
            "change_floor",
            "event_floor",
            "reserved_numbers",
            *word_index.TABLES,
        }

        assert names == {table.name for table in TABLES}

    @pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
    def test_the_columns_are_the_models_fields(self, connection: apsw.Connection, table: Table[Any]) -> None:
        rows = connection.execute(f"PRAGMA table_xinfo({table.name})").fetchall()

        found = {name: (kind, not is_required) for _, name, kind, is_required, *_ in rows if name != SEQUENCE}
        assert found == {column.name: (_type(column), column.is_nullable) for column in (*table.columns, *table.hidden)}
        assert [(name, key) for _, name, _, _, _, key, _ in rows if key] == [(SEQUENCE, 1)]

    @pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
    def test_the_tables_are_strict(self, connection: apsw.Connection, table: Table[Any]) -> None:
        assert connection.execute("SELECT strict FROM pragma_table_list(?)", (table.name,)).get == 1

    @pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
    def test_the_indexes_are_the_models(self, connection: apsw.Connection, table: Table[Any]) -> None:
        texts = {
            name: sql for kind, name, owner, sql in schema_of(connection) if (kind, owner) == ("index", table.name)
        }

        assert {name: _columns(connection, name, text) for name, text in texts.items() if text} == {
            index.name: _expected(index) for index in table.indexes
        }

    @pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
    def test_ids_are_unique(self, connection: apsw.Connection, table: Table[Any]) -> None:
        rows = connection.execute(
            "SELECT c.name FROM pragma_index_list(?) i, pragma_index_info(i.name) c WHERE i.[unique]", (table.name,)
        ).fetchall()

        assert {name for (name,) in rows} == {
            "id",
            *(column for index in table.indexes if index.is_unique for column in index.columns),
        }


def _type(column: Column) -> str:
    return _TYPES.get(column.kind, "TEXT")


def _columns(connection: apsw.Connection, name: str, text: str) -> tuple[Any, ...]:
    """Return what an index has: its columns, in what direction, and the rows it is limited to."""
    rows = connection.execute(f"PRAGMA index_xinfo({name})").fetchall()
    columns = [(column, bool(descending)) for _, place, column, descending, _, _ in rows if place != -1]
    assert [place for _, place, *_ in rows][-1] == -1  # the sequence follows by itself
    _, _, where = text.partition("WHERE ")
    expressions = text[text.index("(") :].count("min(") + text[text.index("(") :].count("max(")
    return columns, expressions, where.strip()


def _expected(index: Index) -> tuple[Any, ...]:
    columns: list[Any] = []
    pairs = 0
    for column in index.columns:
        if "|" in column:
            pairs += 1
            columns += [(None, False), (None, False)]  # min(a, b), max(a, b)
        else:
            columns.append((column.removeprefix("-"), column.startswith("-")))
    limits = [f"{field} = {value!r}" for field, value in index.where]
    limits += [f"{quoted(index.present)} IS NOT NULL"] if index.present else []
    return columns, 2 * pairs, " AND ".join(limits)
