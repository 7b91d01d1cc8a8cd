"""Tells up to where a numbered table is complete: events and messages commit in any order.

Before a transaction takes its first number of such a table, a trigger (`take_place`, version 9 of the schema) takes a
shared advisory lock whose number tells the table and the last number that was given out, `n`. It keeps it until the
end, so all its numbers lie above `n`, and no two transactions wait for each other. A savepoint that is undone gives the
lock up together with the rows that it was for.

A reader looks for the highest number that is committed, `last`, and then at these locks. A row below `last` that is not
committed yet belongs to a transaction that had its lock before it took its number, and so before the one of `last` was
taken: the lock is among those, or the transaction has ended, and a later statement sees the row. So what lies at or
below `last` and every `n` is settled: the later statement sees all of it that there will ever be.

A server in recovery does not know the locks of its primary. There the trigger leaves a record in the log before the
first number is taken, so whatever shows `last` knows the transaction of each lower number as well. The reader notes
`last` and the next number of a transaction, and once all below that one have ended, `last` is settled; at once, if none
is open. That is known of a connection, for another one may lead to another standby.
"""

import asyncio
import time
from typing import Any

import msgspec

from swarm_persistence.engines.sql.compiler import Compiler
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.execution import ConnectionStatement, execute
from swarm_persistence.engines.sql.statements import ValueStatement
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import SEQUENCE

PLACES = 4294967296
"""How many numbers a lock key can distinguish; concurrent numbers lie within half of this range."""

_PAUSE_SECONDS = 0.02
_LONGEST_WAIT_SECONDS = 1.0
"""How long a read of a standby waits for the transactions that are open on the primary."""

_HALF = PLACES // 2


def signed(number: str) -> str:
    """Return the expression that maps a number, modulo 2³², to the range of the server's integer type."""
    return f"((({number}) % {PLACES} + {PLACES + _HALF}) % {PLACES} - {_HALF})"


_PLACES = """
  places AS MATERIALIZED (
    SELECT objid::bigint AS low, pid IS NOT DISTINCT FROM pg_backend_pid() AS is_own
    FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND mode = 'ShareLock'
      AND classid = '{table}'::regclass::oid
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  )"""

_SETTLED = f"""
WITH
  known AS MATERIALIZED (SELECT coalesce(max(sequence), 0) AS last FROM {{table}}),
  transactions AS MATERIALIZED (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS lowest),{_PLACES}
SELECT
  last,
  (SELECT min(last + {signed("low - last")}) FROM places WHERE NOT is_own),
  EXISTS (SELECT FROM places WHERE is_own),
  pg_is_in_recovery(),
  lowest,
  lowest + ((3 + age('3'::xid)::bigint - lowest) % {PLACES} + {PLACES}) % {PLACES}
FROM known, transactions
"""

_WAIT = f"""
WITH{_PLACES}, earlier AS MATERIALIZED (
  SELECT DISTINCT low FROM places WHERE NOT is_own AND {signed("low - $1")} < 0 ORDER BY low
)
SELECT pg_advisory_xact_lock({signed("'{table}'::regclass::oid::bigint")}::integer, {signed("low")}::integer)::text
FROM earlier
"""


class Settled(msgspec.Struct, frozen=True):
    """How far a table is complete."""

    last: int
    """The highest number that is visible, or known otherwise."""
    number: int
    """The number at or below which nothing changes any more; at most `last`."""
    is_in_recovery: bool
    has_written: bool
    """Whether the reader's own transaction has added rows."""


class Arrivals(msgspec.Struct):
    """The numbers known on a connection to a standby: the settled one, and the one that will be settled next."""

    number: int = 0
    noted: tuple[int, int] | None = None
    """A number, and the transaction before which all must have ended."""

    def observe(self, last: int, lowest: int, following: int) -> int:
        """Take note of the highest visible number, the lowest open transaction, and the next one."""
        if self.noted is not None and lowest >= self.noted[1]:
            self.number, self.noted = self.noted[0], None
        if lowest >= following:
            self.number, self.noted = last, None
        elif self.noted is None and last > self.number:
            self.noted = (last, following)
        return min(self.number, last)


async def settled(connection: Connection, table: str, known: int = 0) -> Settled:
    """Return how far a table is complete for the next statements on this connection.

    With a number that is known to be taken, it is complete up to there at least, although the row may be deleted.
    """
    ((shown, lowest_place, has_written, is_in_recovery, lowest, following),) = await connection.run(
        _SETTLED.replace("{table}", table)
    )
    last = max(shown, known)
    if is_in_recovery:
        arrivals = connection.arrivals.setdefault(table, Arrivals())
        number = arrivals.observe(last, lowest, following)
    else:
        number = last if lowest_place is None else max(0, min(last, lowest_place))
    return Settled(last, number, is_in_recovery, has_written)


class SettledRecordsStatement(ConnectionStatement, eq=False, gc=False):
    """Reads the records of a query that precede every row that open transactions may still add."""

    compiler: Compiler
    query: Query[Any]

    async def run_on(self, connection: Connection) -> list[Any]:
        query = self.query
        relation = self.compiler.dialect.table(query.table)
        found = first = await settled(connection, relation)
        deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
        while found.is_in_recovery and found.number < first.last and time.monotonic() < deadline:
            await asyncio.sleep(_PAUSE_SECONDS)
            found = await settled(connection, relation)
        if not found.has_written:
            query = msgspec.structs.replace(
                query, conditions=(*query.conditions, Condition(SEQUENCE, "<=", found.number))
            )
        return [*map(codec_of(query.table.model).decode, await connection.run(*self.compiler.select(query)))]


class LastSequenceStatement(ConnectionStatement, eq=False, gc=False):
    """Gives the last sequence of a table; below another one, once nothing more can come there."""

    shown: ValueStatement
    relation: str
    before: int | None

    async def run_on(self, connection: Connection) -> int:
        last: int = await execute(connection, self.shown.run())
        if self.before is None:
            found = await settled(connection, self.relation, last)
            return last if found.has_written else min(last, found.number)
        if last == self.before - 1:
            return last
        await connection.run(_WAIT.replace("{table}", self.relation), (self.before,))
        return int(await execute(connection, self.shown.run()))
