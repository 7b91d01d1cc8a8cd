"""How many connections a server has left, so that the pools of other processes find one too."""

import asyncpg

from swarm_persistence.engines.sql.postgres.connection import Connection

# Of sessions of other roles, a role without rights sees that they are there, and not of which kind. The limits of a
# role and of a database are no limits to a superuser.
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
"""One connection in so many is left for those who have none yet."""


class Headroom:
    """What is left of each limit that holds for a connection."""

    def __init__(self, left: list[tuple[int, int]]) -> None:
        """Take what is left, and what should be, for each limit."""
        self._left = left

    @property
    def is_used_up(self) -> bool:
        """Tell whether a pool that has a connection should not have taken another one."""
        return any(left < reserve for left, reserve in self._left)

    @property
    def is_short(self) -> bool:
        """Tell whether a pool should give connections back, since others come to have none."""
        return any(left < (reserve + 1) // 2 for left, reserve in self._left)


async def headroom_of(connection: Connection) -> Headroom:
    """Ask a server for its limits, and for the connections that it has; one that does not tell has room."""
    try:
        limits = await limits_of(connection)
    except asyncpg.PostgresError:
        if connection.is_closed:
            raise
        return Headroom([])  # an operator may hide what others do, and not every service has these views
    return Headroom([(most - clients, max(1, most // _RESERVED_SHARE)) for most, clients in limits])


async def limits_of(connection: Connection) -> list[tuple[int, int]]:
    """Return, for each limit that holds for this role's connections, how many it allows and how many there are."""
    return [(most, clients) for most, clients in await connection.run(_LIMITS_AND_CLIENTS)]
