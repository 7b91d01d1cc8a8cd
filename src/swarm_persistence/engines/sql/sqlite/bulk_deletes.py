"""Deletes many documents at once, without the schema's triggers, which take most of the time of such a statement."""

from collections.abc import Sequence
from typing import Any, ClassVar

import apsw

from swarm_persistence.engines.sql.sqlite.statements import CursorStatement
from swarm_persistence.query.text import quoted
from swarm_persistence.schema.tables import CHANGE_NUMBER, DOCUMENTS

MANY = 500
"""The fewest rows for which this pays off: the connection must prepare its statements anew."""

_RAISE_FLOOR = f"""\
UPDATE change_floor
SET number = max(number, (SELECT coalesce(max({quoted(CHANGE_NUMBER)}), 0) FROM {DOCUMENTS.name}))"""
_NEEDS_TRIGGERS = f"""\
SELECT 1 FROM document_indexes
UNION ALL
SELECT 1 FROM sqlite_schema
WHERE type = 'trigger' AND tbl_name = '{DOCUMENTS.name}' AND name NOT IN ('documents_deleted', 'document_words_deleted')
LIMIT 1"""  # a caller's own trigger acts on every row


class DeleteManyDocumentsStatement(CursorStatement, eq=False, gc=False):
    """Deletes the many documents of a range; gives their number.

    With triggers, SQLite visits each row twice and keeps a copy of each page in case one fails. So the work of the
    trigger `documents_deleted` is done once for all rows; `document_words_deleted` has nothing to do here.
    """

    text: str
    values: Sequence[Any]

    is_single: ClassVar[bool] = False

    def run_on(self, cursor: apsw.Cursor) -> int:
        connection = cursor.connection
        if cursor.execute(_NEEDS_TRIGGERS).fetchall():
            cursor.execute(self.text, self.values)
            return connection.changes()
        cursor.execute(_RAISE_FLOOR)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        try:
            cursor.execute(self.text, self.values)
            return connection.changes()
        finally:
            connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 1)

    def tables_changed(self) -> Sequence[str]:
        return (DOCUMENTS.name,)


class DeleteDocumentsStatement(DeleteManyDocumentsStatement, eq=False, gc=False):
    """Deletes the documents of a range, without triggers if they are many; gives their number."""

    exists_text: str

    def run_on(self, cursor: apsw.Cursor) -> int:
        if cursor.execute(f"{self.exists_text} OFFSET {MANY - 1}", self.values).fetchall():
            return DeleteManyDocumentsStatement.run_on(self, cursor)
        cursor.execute(self.text, self.values)
        return cursor.connection.changes()
