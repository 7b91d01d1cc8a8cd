"""Follows the changes of tasks, which bear the numbers of their transactions: those do not commit in this order.

A watcher may go up to a number once no change below it can be committed any more. It waits for no transaction but those
that write to the swarm's tables: `pg_snapshot_xmin` would wait for any open one, of other databases too.

Why nothing is missed. The horizon comes from one statement, the rows from a later one on the same connection. Let a
transaction with the number x below the horizon change a task, and not be committed when the rows are read. Then:

1. The horizon is at most `pg_snapshot_xmax` of its statement's snapshot, so x was given out before that snapshot, and
   the transaction was open at that time: x is one of `pg_snapshot_xip`.
2. What gives a transaction of ours its number is a statement that writes or locks rows of our tables, or advances their
   sequences. Such a statement takes a lock on the table first, which is kept until the end, or until a savepoint before
   it is undone: but then there is a shared advisory lock that was taken before the savepoint. So when the locks are
   read, after the snapshot, one of the two is among them. (A commit shows to snapshots before its locks are released,
   so one that is gone belongs to what the rows' statement sees. `pg_locks` reads the fast-path locks first, and the
   others after them at one time: a lock that moves there meanwhile is seen once or twice, and never not at all.)
3. The lock on the number x itself is taken a moment after it was given out. If it is among the locks, its owner has the
   lock of 2 as well, and x holds the horizon. If it is not, the locks show a transaction that locks our tables and has
   no number yet, and then any open number without an owner holds the horizon.

So the horizon is at most x, which it is not. Prepared transactions keep both locks, and so do those that wait for a
synchronous standby. VACUUM, CREATE INDEX and readers take other kinds of lock. The locks are read only if any
transaction at all is open. A server in recovery does not know the locks of its primary: there, all that write count.
"""

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from swarm_persistence.engines.following import PAGE_BYTES, end_of, follow
from swarm_persistence.engines.interface import FeedPage, FeedPosition
from swarm_persistence.engines.reads import Read
from swarm_persistence.engines.sql.postgres import execution
from swarm_persistence.engines.sql.postgres.arrivals import settled
from swarm_persistence.engines.sql.postgres.comments import VERB
from swarm_persistence.engines.sql.postgres.compiler import WRITING
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.execution import ConnectionStatement
from swarm_persistence.query.query import Query
from swarm_persistence.schema.tables import TABLES, TASKS

if TYPE_CHECKING:
    from swarm_persistence.engines.sql.postgres.statement_compiler import PostgresStatementCompiler

T = TypeVar("T")

_HORIZON = """
WITH
  moment AS MATERIALIZED (
    SELECT
      snapshot,
      pg_snapshot_xmin(snapshot)::text::bigint AS lowest,
      pg_snapshot_xmax(snapshot)::text::bigint AS next
    FROM pg_current_snapshot() AS snapshot
  ),
  locks AS MATERIALIZED (
    SELECT locktype, transactionid, virtualtransaction
    FROM pg_locks
    WHERE granted AND CASE locktype
      WHEN 'transactionid' THEN mode = 'ExclusiveLock'
      WHEN 'relation' THEN
        mode IN ('RowShareLock', 'RowExclusiveLock')
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND relation = ANY(ARRAY(SELECT to_regclass(name)::oid FROM unnest($1::text[]) AS name))
      WHEN 'advisory' THEN
        classid = {writing} AND objid = to_regclass(($1::text[])[1])::oid AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      END
  ),
  owners AS (SELECT transactionid, virtualtransaction FROM locks WHERE locktype = 'transactionid'),
  writers AS (SELECT virtualtransaction FROM locks WHERE locktype <> 'transactionid'),
  held AS (
    SELECT min(running::text::bigint) AS lowest
    FROM moment
    CROSS JOIN pg_snapshot_xip(snapshot) AS running
    LEFT JOIN owners ON owners.transactionid::text::bigint = running::text::bigint % 4294967296
    WHERE virtualtransaction IN (SELECT virtualtransaction FROM writers)
      OR (
        virtualtransaction IS NULL
        AND EXISTS (SELECT FROM writers WHERE virtualtransaction NOT IN (SELECT virtualtransaction FROM owners))
      )
  )
SELECT
  CASE
    WHEN lowest = next THEN next
    WHEN pg_is_in_recovery() THEN lowest
    ELSE coalesce((SELECT held.lowest FROM held), next)
  END,
  next
FROM moment
""".replace("{writing}", str(WRITING))


class FollowStatement(ConnectionStatement, eq=False, gc=False):
    """Reads the changes of a table; gives a page."""

    compiler: "PostgresStatementCompiler"
    query: Query[Any]
    after: FeedPosition
    limit: int
    upto: FeedPosition | None

    async def run_on(self, connection: Connection) -> FeedPage:
        VERB.set(f"watch_{self.query.table.name}")
        # All on one connection: another one may lead to a standby that is behind.
        reader = _ReadingOn(connection, self.compiler)
        if self.upto is not None:
            return await follow(reader, self.query, self.after, self.limit, self.upto, PAGE_BYTES)
        if not self.query.table.is_followed:
            return await self._follow_arrivals(connection, reader)
        ((horizon, following),) = await connection.run(_HORIZON, (_relations(self.compiler.sql.dialect.schema),))
        page = await follow(reader, self.query, self.after, self.limit, end_of(horizon - 1), PAGE_BYTES)
        return page._replace(is_held_back=horizon < following)

    async def _follow_arrivals(self, connection: Connection, reader: "_ReadingOn") -> FeedPage:
        found = await settled(connection, self.compiler.sql.dialect.table(self.query.table))
        is_held_back = found.number < found.last
        after = self.after
        if found.number < after.number <= found.last:
            return FeedPage([], after, is_held_back=is_held_back)  # was assigned when it was settled
        # A caller's own place may lie ahead of all rows: some may still come before it.
        upto = end_of(found.number)
        page = await follow(reader, self.query, min(after, upto), self.limit, upto, PAGE_BYTES)
        return page if page.is_full else FeedPage(page.rows, upto, is_held_back=is_held_back)


class _ReadingOn:
    """Reads on one connection."""

    def __init__(self, connection: Connection, compiler: "PostgresStatementCompiler") -> None:
        self._connection = connection
        self._compiler = compiler

    def read(self, read: Read[T]) -> Awaitable[T]:
        return execution.read(self._connection, self._compiler.read(read))


def _relations(schema: str) -> Sequence[str]:
    """Return the names of all tables and sequences that a swarm's transactions write to, the tasks first."""
    tables = sorted((table.name for table in TABLES), key=lambda name: name != TASKS.name)
    floors = [table.floor for table in TABLES if table.floor is not None]
    return [f"{schema}.{name}" for name in (*tables, *floors, *(f"{table}_sequence_seq" for table in tables))]
