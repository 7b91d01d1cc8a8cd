"""Stores the word index as arrays with a GIN index.

An array holds any number of words, whereas a `tsvector` is limited to 1 MB, and `ts_rank` ranks differently from the
other engines.
"""

from collections.abc import Sequence
from typing import Any

from swarm_persistence.engines.sql.postgres.dialect import PostgresDialect
from swarm_persistence.engines.sql.statements import TextStatement
from swarm_persistence.engines.sql.word_index import WordIndexCompiler
from swarm_persistence.query.text import Marks
from swarm_persistence.schema.tables import CHANGE_NUMBER, DOCUMENTS, SEQUENCE


class PostgresWordIndex(WordIndexCompiler):
    """The word index in PostgreSQL."""

    dialect: PostgresDialect

    def __init__(self, dialect: PostgresDialect) -> None:
        super().__init__(dialect)
        # Positions restored from a dump are those of another server, and mean nothing here.
        self.origin = (
            "(SELECT format('%s/%s', system_identifier, "
            f"to_regclass('{self.dialect.table(DOCUMENTS)}')::oid) FROM pg_control_system())"
        )

    def position(self, field: str, start: int) -> str:
        return f"CASE WHEN origin = {self.origin} THEN {field} ELSE {start} END"

    def matching(self, marks: Marks) -> str:
        return (
            f"FROM {self.words} JOIN {self.dialect.table(DOCUMENTS)} USING ({SEQUENCE})\n"
            f"WHERE words @> {marks.next()}::text[]"
        )

    def changed(self, marks: Marks) -> str:
        return f"FROM {self.dialect.table(DOCUMENTS)}\nWHERE {CHANGE_NUMBER} > {marks.next()}"

    def words_value(self, words: Sequence[str]) -> Any:
        return list(words)

    def writes(self, words: Sequence[tuple[int, Sequence[str]]]) -> list[TextStatement]:
        put = [(sequence, list(each)) for sequence, each in words if each]
        forgotten = [sequence for sequence, each in words if not each]
        statements = []
        if put:
            # An array of arrays would need rows of one length.
            lines = [" ".join(each) for _, each in put]
            text = (
                f"INSERT INTO {self.words} ({SEQUENCE}, words)\n"
                f"SELECT {SEQUENCE}, string_to_array(line, ' ')\n"
                f"FROM unnest($1::bigint[], $2::text[]) AS added ({SEQUENCE}, line)\n"
                f"JOIN {self.dialect.table(DOCUMENTS)} USING ({SEQUENCE})\n"
                f"ORDER BY {SEQUENCE}\n"
                f"ON CONFLICT ({SEQUENCE}) DO UPDATE SET words = excluded.words"
            )
            statements.append(TextStatement(text, ([sequence for sequence, _ in put], lines), DOCUMENTS))
        if forgotten:
            text = f"DELETE FROM {self.words} WHERE {SEQUENCE} = ANY($1)"
            statements.append(TextStatement(text, (forgotten,), DOCUMENTS))
        return statements
