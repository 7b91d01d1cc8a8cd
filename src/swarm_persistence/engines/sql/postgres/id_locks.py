"""Locks tasks by their ids, whether they are stored or not, and never a whole table.

Two kinds of writes must not race: one that makes a task depend on another, and one that ends the other task and reads
its dependents. The first takes a shared lock on the other task, the second an exclusive one, and both keep it until
they have committed; so the later one sees what the earlier one has written.

A stored task is locked by its row: shared by `FOR SHARE`, exclusively by an UPDATE or `FOR NO KEY UPDATE`. One that is
not stored is locked by an advisory lock whose key derives from its id: other transactions may store and end it before
the write that refers to it has committed. Each write that ends a task, by any version of this package, takes that lock
exclusively in a trigger of the table (`end_alone`, version 5 of the schema), after the lock of the row. A write that
refers to a task never waits for its row while it has the lock of its id, so there is no deadlock. Locks of ids are
taken in the order of their keys.

The server has room for some thousands of locks. So a transaction that locks more than `MOST_IDS` tasks exclusively
takes one common lock instead of the rest. Each write that refers to a task that is not stored takes it, too, as shared.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from swarm_persistence.engines.sql.statements import TextStatement

MOST_IDS = 1000

HOLDING = 1398231636
"""The upper half of the keys of advisory locks for many ids; the lower half identifies the table."""


class LockRowsStatement(TextStatement, eq=False, gc=False):
    """Locks rows by their ids, whether they are stored or not; gives nothing."""

    is_single: ClassVar[bool] = False  # it only matters within the current transaction

    def result(self, rows: Sequence[Any]) -> None:
        return None


def common_lock(relation: str) -> str:
    """Return the key of the lock for all ids of a relation, which is given by its oid as a bigint."""
    return f"(({HOLDING}::bigint << 32) | {relation})"


def lock_of(id: str, relation: str) -> str:
    """Return the key of the lock for an id."""
    return f'pg_catalog.hashtextextended({id} COLLATE "C", {relation})'


def lock_text(table: str, *, skips_missing: bool) -> str:
    """Return the text that takes shared locks on the tasks of one array, and exclusive ones on those of another."""
    if skips_missing:
        return f"WITH{_held_rows(table)}\nSELECT (SELECT count(*) FROM own), (SELECT count(*) FROM referred)"
    return f"WITH{held_text(table)}\nSELECT lock FROM held"


def held_text(table: str) -> str:
    """Return the parts of a WITH that do the same, stored or not, as soon as `held` is read."""
    relation = f"'{table}'::regclass::oid::bigint"
    return f"""\
{_held_rows(table)},
  missing AS MATERIALIZED (
    SELECT id FROM unnest($1::text[]) AS id WHERE id NOT IN (SELECT id FROM referred)
  ),
  wanted AS (
    SELECT {lock_of("id", relation)} AS number, false AS is_alone FROM missing
    UNION ALL
    SELECT {common_lock(relation)}, false FROM missing
    UNION ALL
    SELECT {lock_of("id", relation)}, true FROM unnest($2::text[]) AS id WHERE cardinality($2::text[]) <= {MOST_IDS}
    UNION ALL
    SELECT {common_lock(relation)}, true WHERE cardinality($2::text[]) > {MOST_IDS}
  ),
  ordered AS MATERIALIZED (
    SELECT DISTINCT number, is_alone, rows.held
    FROM wanted CROSS JOIN (SELECT count(*) AS held FROM own) AS rows
    ORDER BY number, is_alone DESC
  ),
  held AS MATERIALIZED (
    SELECT
      CASE
        WHEN is_alone THEN pg_advisory_xact_lock(number)::text
        ELSE pg_advisory_xact_lock_shared(number)::text
      END AS lock
    FROM ordered
  )"""


def _held_rows(table: str) -> str:
    return f"""
  own AS MATERIALIZED (
    SELECT FROM {table} WHERE id = ANY($2::text[]) ORDER BY sequence FOR NO KEY UPDATE
  ),
  referred AS MATERIALIZED (
    SELECT id FROM {table} WHERE id = ANY($1::text[]) ORDER BY sequence FOR SHARE
  )"""
