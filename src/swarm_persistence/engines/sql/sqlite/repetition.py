"""Repeats writes after a commit of unknown outcome, if a second insert can detect the first."""

from collections.abc import Sequence

import apsw

from swarm_persistence.engines.sql.sqlite.operations import Operation
from swarm_persistence.engines.sql.sqlite.statements import BulkInsertStatement, ProbeThenInsertStatement
from swarm_persistence.engines.sql.statements import IfChangedStatement, Statement


def is_repeatable(operation: Operation) -> bool:
    """Tell whether an operation only adds records, whose ids and keys then show whether it was done."""
    return all(isinstance(each, BulkInsertStatement) or _inserts_by_key(each) for each in operation.statements)


def stored_sequences(cursor: apsw.Cursor, statements: Sequence[Statement]) -> list[int] | None:
    """Return the sequences of rows that are stored exactly as given; `None` if one is not."""
    sequences: list[int] = []
    for statement in statements:
        if not isinstance(statement, BulkInsertStatement):
            return None
        for row in statement.rows:
            sequence = statement.bulk.stored_sequence(cursor, row)
            if sequence is None:
                return None
            sequences.append(sequence)
    return sequences


def _inserts_by_key(statement: Statement) -> bool:
    if isinstance(statement, IfChangedStatement):
        return _inserts_by_key(statement.first[0])
    return isinstance(statement, ProbeThenInsertStatement)
