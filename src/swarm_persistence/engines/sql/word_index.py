"""Compiles the steps and reads of the word index; a subclass for each database stores the words."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from swarm_persistence.engines.reads import WordIndexes, WordMatches
from swarm_persistence.engines.sql.statements import (
    CountStatement,
    Exchange,
    Statement,
    TextStatement,
    TuplesStatement,
)
from swarm_persistence.engines.steps import IndexWords, KeepWordIndex
from swarm_persistence.models.collections import texts_below
from swarm_persistence.query.query import Query
from swarm_persistence.query.text import Dialect, Marks, where_text
from swarm_persistence.schema.tables import CHANGE_NUMBER, DOCUMENTS, SEQUENCE
from swarm_persistence.schema.values import LARGEST_INTEGER


class SequencesStatement(TextStatement, eq=False, gc=False):
    """Gives the first column of the rows."""

    def result(self, rows: list[Any]) -> list[int]:
        return [row[0] for row in rows]


class IndexWordsStatement(Statement, eq=False, gc=False):
    """Runs some writes if the index is still at a position; gives whether it was."""

    advance: CountStatement | None
    writes: Sequence[TextStatement]

    is_single: ClassVar[bool] = False

    def run(self) -> Exchange[bool]:
        if self.advance is not None and not (yield self.advance):
            return False
        for write in self.writes:
            yield from write.run()
        return True


class WordIndexCompiler(ABC):
    """Writes the statements of one dialect."""

    origin: str | None = None
    """The expression that identifies the server of the change numbers, if a dump may bring those of another server."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        documents = dialect.table(DOCUMENTS)
        self.indexes = documents.replace(DOCUMENTS.name, "document_indexes")
        self.words = documents.replace(DOCUMENTS.name, "document_words")

    def position(self, field: str, start: int) -> str:
        """Return the expression of a part of the position of an index; `start` is that of an index to be rebuilt."""
        return field

    @abstractmethod
    def matching(self, marks: Marks) -> str:
        """Return the FROM clause of the documents whose words match, and the condition that they do."""

    @abstractmethod
    def changed(self, marks: Marks) -> str:
        """Return the FROM clause of the documents that were changed after a number, and that condition."""

    @abstractmethod
    def words_value(self, words: Sequence[str]) -> Any:
        """Return the value that `matching` marks."""

    @abstractmethod
    def writes(self, words: Sequence[tuple[int, Sequence[str]]]) -> list[TextStatement]:
        """Return the statements that replace the words of documents; those without any are forgotten."""

    def read_indexes(self, read: WordIndexes) -> Statement:
        """Return the statement that reads which indexes there are."""
        return TuplesStatement(
            f"SELECT collection, {self._number}, {self._sequence} FROM {self.indexes}", (), DOCUMENTS
        )

    def read_matches(self, read: WordMatches) -> Statement:
        """Return the statement that reads the sequences of the documents that may have all words."""
        marks = Marks(self.dialect)
        query: Query[Any] = read.query
        parts: list[str] = []
        values: list[Any] = []
        for source_of, value in ((self.matching, self.words_value(read.words)), (self.changed, read.since)):
            source = source_of(marks)  # before the conditions: marks are numbered
            conditions = f" AND {where_text(query, marks)}" if query.conditions else ""
            parts.append(f"SELECT {SEQUENCE}\n{source}{conditions}")
            values += [value, *self.dialect.values(query.table, query.conditions)]
        return SequencesStatement(f"{parts[0]}\nUNION\n{parts[1]}\nORDER BY 1", values, DOCUMENTS)

    def keep(self, step: KeepWordIndex) -> Statement:
        """Return the statement that keeps an index, replacing those within it, or forgets one."""
        marks = Marks(self.dialect)
        if not step.is_kept:
            text = f"DELETE FROM {self.indexes} WHERE collection = {marks.next()}"
            return IndexWordsStatement(None, [CountStatement(text, (step.collection,), DOCUMENTS)])
        text = f"DELETE FROM {self.indexes} WHERE collection <> {marks.next()}"
        values: list[Any] = [step.collection]
        bounds = texts_below(step.collection)
        if bounds is not None:
            text = f"{text} AND collection >= {marks.next()} AND collection < {marks.next()}"
            values += bounds
        marks = Marks(self.dialect)
        names, new = f"collection, {CHANGE_NUMBER}, {SEQUENCE}", f"{marks.next()}, -1, {LARGEST_INTEGER}"
        if self.origin is not None:
            names, new = f"{names}, origin", f"{new}, {self.origin}"
        add = f"INSERT INTO {self.indexes} ({names})\nVALUES ({new})\nON CONFLICT (collection) DO NOTHING"
        writes = [CountStatement(text, values, DOCUMENTS), CountStatement(add, (step.collection,), DOCUMENTS)]
        return IndexWordsStatement(None, writes)

    def index(self, step: IndexWords) -> Statement:
        """Return the statement that writes the words of documents, and advances the index."""
        if step.collection is None:
            return IndexWordsStatement(None, self.writes(step.words))
        marks = Marks(self.dialect)
        changes = f"{CHANGE_NUMBER} = {marks.next()}, {SEQUENCE} = {marks.next()}"
        if self.origin is not None:
            changes = f"{changes}, origin = {self.origin}"
        is_there = (
            f"collection = {marks.next()} AND {self._number} = {marks.next()} AND {self._sequence} = {marks.next()}"
        )
        # Another program that has moved the index meanwhile may have read later documents.
        text = f"UPDATE {self.indexes}\nSET {changes}\nWHERE {is_there}"
        advance = CountStatement(text, (*step.upto, step.collection, *step.since), DOCUMENTS)
        return IndexWordsStatement(advance, self.writes(step.words))

    @property
    def _number(self) -> str:
        return self.position(CHANGE_NUMBER, -1)

    @property
    def _sequence(self) -> str:
        return self.position(SEQUENCE, LARGEST_INTEGER)
