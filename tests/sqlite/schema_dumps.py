"""What a SQLite file consists of: its schema, and the rows of its tables."""

from pathlib import Path
from typing import Any

import apsw


def schema_of(connection: apsw.Connection) -> list[Any]:
    """Return the rows of the schema's table."""
    return connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name").fetchall()


def dump_of(path: Path) -> list[Any]:
    """Return the schema, and all rows."""
    connection = apsw.Connection(str(path))
    rows = [connection.execute(f"SELECT * FROM {name}").fetchall() for _, name, _, _ in tables_of(connection)]
    dump = [schema_of(connection), rows]
    connection.close()
    return dump


def tables_of(connection: apsw.Connection) -> list[Any]:
    """Return the tables' rows of the schema's table."""
    return [row for row in schema_of(connection) if row[0] == "table"]
