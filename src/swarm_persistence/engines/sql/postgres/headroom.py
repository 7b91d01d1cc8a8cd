"""The headroom of a server: how many more connections it accepts."""

import asyncpg

from swarm_persistence.engines.sql.postgres.connection import Connection

# An unprivileged role sees that other roles' sessions exist, but not of which type they are. The limits of roles and
# databases do not apply to superusers.
_LIMITS_AND_CLIENTS = """
WITH clients AS MATERIALIZED (
  SELECT usesysid, datid
  FROM pg_stat_activity
  WHERE coalesce(backend_type, 'client backend') = 'client backend' AND usesysid IS NOT NULL
), me AS MATERIALIZED (
  SELECT oid, CASE WHEN rolsuper THEN -1 ELSE rolconnlimit END AS rolconnlimit, rolsuper
  FROM pg_roles
  WHERE rolname = session_user
)
SELECT
  current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint AS most,
  (SELECT count(*) FROM clients)
UNION ALL
SELECT rolconnlimit, (SELECT count(*) FROM clients WHERE usesysid = me.oid) FROM me WHERE rolconnlimit >= 0
UNION ALL
SELECT datconnlimit, (SELECT count(*) FROM clients WHERE datid = pg_database.oid)
FROM pg_database, me
WHERE datname = current_database() AND datconnlimit >= 0 AND NOT rolsuper
"""

_RESERVED_SHARE = 10
"""One in this number of connections is reserved for processes that have none."""


class Headroom:
    """The remaining capacity of each limit that applies to a connection."""

    def __init__(self, left: list[tuple[int, int]]) -> None:
        """Take, for each limit, how many connections are left and how many are to be reserved."""
        self._left = left

    @property
    def is_used_up(self) -> bool:
        """Return whether a pool that has a connection must not open another one."""
        return any(left < reserve for left, reserve in self._left)

    @property
    def is_short(self) -> bool:
        """Return whether a pool should close connections, as other processes may get none."""
        return any(left < (reserve + 1) // 2 for left, reserve in self._left)


async def headroom_of(connection: Connection) -> Headroom:
    """Query the limits and the clients of a server; one that hides them counts as having room."""
    try:
        limits = await limits_of(connection)
    except asyncpg.PostgresError:
        if connection.is_closed:
            raise
        return Headroom([])  # an operator may hide these views, and not every service has them
    return Headroom([(most - clients, max(1, most // _RESERVED_SHARE)) for most, clients in limits])


async def limits_of(connection: Connection) -> list[tuple[int, int]]:
    """Return, for each limit that applies to this role, how many connections it allows and how many are open."""
    return [(most, clients) for most, clients in await connection.run(_LIMITS_AND_CLIENTS)]
