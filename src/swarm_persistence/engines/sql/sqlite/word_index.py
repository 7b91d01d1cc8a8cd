"""Stores the word index in an FTS5 table: the words only, not the documents."""

from collections.abc import Sequence
from typing import Any

from swarm_persistence.engines.sql.statements import TextStatement
from swarm_persistence.engines.sql.word_index import WordIndexCompiler
from swarm_persistence.query.text import Marks
from swarm_persistence.schema.tables import CHANGE_NUMBER, DOCUMENTS, SEQUENCE

TABLES = frozenset(
    {
        "document_indexes",
        "document_words",
        *(f"document_words_{part}" for part in ("config", "content", "data", "docsize", "idx")),
    }
)
"""The tables of the index; it can be rebuilt from the documents."""

# The document may have been deleted meanwhile, and its rowid reused.
_PUT = f"""INSERT OR REPLACE INTO document_words (rowid, words)
SELECT ?, ?
WHERE EXISTS (SELECT 1 FROM {DOCUMENTS.name} WHERE {SEQUENCE} = ?)"""
_FORGET = "DELETE FROM document_words WHERE rowid = ?"


class SqliteWordIndex(WordIndexCompiler):
    """The word index in SQLite."""

    def matching(self, marks: Marks) -> str:
        # CROSS JOIN keeps this order: the words are looked up first.
        return (
            f"FROM document_words CROSS JOIN {DOCUMENTS.name} ON {SEQUENCE} = document_words.rowid\n"
            f"WHERE document_words MATCH {marks.next()}"
        )

    def changed(self, marks: Marks) -> str:
        return f"FROM {DOCUMENTS.name} INDEXED BY documents_changed\nWHERE {CHANGE_NUMBER} > {marks.next()}"

    def words_value(self, words: Sequence[str]) -> Any:
        # No word has a quotation mark, so each is a string of one token, and none an operator.
        return " ".join(f'"{word}"' for word in words)

    def writes(self, words: Sequence[tuple[int, Sequence[str]]]) -> list[TextStatement]:
        return [
            TextStatement(_PUT, (sequence, " ".join(each), sequence), DOCUMENTS)
            if each
            else TextStatement(_FORGET, (sequence,), DOCUMENTS)
            for sequence, each in words
        ]
