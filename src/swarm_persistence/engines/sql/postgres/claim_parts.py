"""The parts of a claim's text that depend on no condition: choice, bounds and result."""

from typing import NamedTuple

from swarm_persistence.query.text import Marks, quoted
from swarm_persistence.schema.tables import SEQUENCE

BEFORE = """\
SELECT walked_index, pg_stat_get_xact_tuples_returned(walked_index) AS entries
  FROM (VALUES (to_regclass('{index}')::oid)) AS walked (walked_index)"""
_WALKED = "(SELECT pg_stat_get_xact_tuples_returned(walked_index) - entries FROM before)"
"""Counts the entries of the index of types that a claim walks over, by a count before and one after it."""

_ANSWER = """\
SELECT changed.*, CASE WHEN changed.sequence IS NULL THEN
  CASE WHEN EXISTS (SELECT FROM due) THEN 'due'{cut} END
END, pg_relation_size('{table}'), {walked}
FROM (VALUES (1)) AS one LEFT JOIN changed ON true"""


class Choice(NamedTuple):
    """What a choice returns beside the sequences of rows (previous values of columns), and its guards."""

    kept: list[str]
    guards: list[str]

    @property
    def columns(self) -> str:
        """Return the beginning of its text."""
        return ", ".join(
            (f"SELECT {SEQUENCE} AS claimed", *(f"{quoted(name)} AS {before(name)}" for name in self.kept))
        )

    def where(self, conditions: list[str]) -> list[str]:
        """Return the clause of these conditions and its own."""
        every = [*conditions, *self.guards]
        return [f"WHERE {' AND '.join(every)}"] if every else []


def answer_of(table: str, cut: str, *, is_counted: bool) -> str:
    """Return the text of what a claim that stands alone gives."""
    return _ANSWER.format(cut=cut, table=table, walked=_WALKED if is_counted else "NULL::bigint")


def cut_at(most: int) -> str:
    """Return the text that says whether there may be rows behind the first ones."""
    return f" WHEN (SELECT count(*) FROM heads) = {most} THEN 'cut'"


def before(name: str) -> str:
    """Return the name of what a column held before."""
    return f"before_{name}"


def of_head(name: str) -> str:
    """Return the name of a column of a union."""
    return f"head_{name}"


def unknown(limit: int) -> str:
    """Return a limit that the planner cannot see; it assumes a tenth of all rows."""
    return f"(SELECT {limit})"


def bounded(lines: list[str], bound: int | None, is_estimable: bool, marks: Marks) -> list[str]:
    """Return the text of a choice, limited by a number in the text.

    For a limit that it cannot see, the planner assumes a tenth of all rows. So it would plan each claim anew, rather
    than keep a plan that looks expensive, and planning takes as long as the claim itself. If it underestimates the
    number of rows, that tenth is what makes it choose the index.
    """
    if bound is None:
        return lines
    *choice, lock = lines
    choice = [*choice, f"LIMIT {bound if bound == 1 or is_estimable else unknown(bound)}", lock]
    if bound == 1:
        return choice
    # Rows are locked one by one, as this limit asks for them.
    return ["SELECT * FROM (", *(f"  {line}" for line in choice), f") AS first LIMIT {marks.next()}"]
