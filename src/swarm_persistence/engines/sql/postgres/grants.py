"""Assigns new tables to the schema's owner, and grants other roles the rights that they have on the tasks."""

from swarm_persistence.engines.sql.postgres.connection import Connection

_TABLES = """
SELECT relname
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = $1 AND relkind IN ('r', 'p')
"""

_GRANTS = """
SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END, privilege_type, is_grantable
FROM pg_class, aclexplode(relacl)
WHERE pg_class.oid = to_regclass($1) AND grantee <> relowner
"""


_OWNER = """
SELECT quote_ident(pg_get_userbyid(relowner))
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = $1 AND relname = $2
  AND pg_get_userbyid(relowner) <> current_user
  AND pg_has_role(relowner, 'MEMBER')
  AND has_schema_privilege(relowner, relnamespace, 'CREATE')
"""


async def become_owner(connection: Connection, schema: str, table: str) -> None:
    """Act as the owner of a table until the transaction ends, if this role may, as a superuser does."""
    for (owner,) in await connection.run(_OWNER, (schema, table)):
        await connection.execute(f"SET LOCAL ROLE {owner}")


async def tables_of(connection: Connection, schema: str) -> set[str]:
    """Return the names of the schema's tables."""
    return {str(name) for (name,) in await connection.run(_TABLES, (schema,))}


async def copy_grants(connection: Connection, schema: str, model: str, table: str) -> None:
    """Copy the grants on one table to another one."""
    for grant in await grants_of(connection, f'"{schema}"."{model}"'):
        await connection.execute(grant.format(object=f'"{schema}"."{table}"'))


async def grants_of(connection: Connection, name: str) -> tuple[str, ...]:
    """Return the grants on a table or a sequence, with `{object}` in place of its name."""
    return tuple(
        f"GRANT {privilege} ON {{object}} TO {grantee}{' WITH GRANT OPTION' if is_grantable else ''}"
        for grantee, privilege, is_grantable in await connection.run(_GRANTS, (name,))
    )
