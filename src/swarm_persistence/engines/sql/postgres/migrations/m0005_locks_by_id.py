"""Version 5: ending a task locks its id; no statement locks a table.

Code of earlier versions keeps working: it ends tasks under the same trigger. It still locks the whole table for a task
whose dependency is not stored. Its searches for dependents exclude each other by a lock, which writers of new links
share.
"""

from swarm_persistence.engines.sql.postgres.id_locks import MOST_IDS, common_lock, lock_of

_RELATION = "TG_RELID::bigint"

UP = (
    # The count is local to the transaction, and a rollback to a savepoint restores it, as it releases the locks.
    f"""
    CREATE FUNCTION {{schema}}.end_alone() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
      counter CONSTANT text := 'swarm_persistence.ended_' || TG_RELID;
      ended CONSTANT integer :=
        coalesce(nullif(pg_catalog.current_setting(counter, true), ''), '0')::integer;
    BEGIN
      IF ended < {MOST_IDS} THEN
        PERFORM pg_catalog.pg_advisory_xact_lock({lock_of("NEW.id", _RELATION)});
      ELSIF ended = {MOST_IDS} THEN
        PERFORM pg_catalog.pg_advisory_xact_lock({common_lock(_RELATION)});
      END IF;
      IF ended <= {MOST_IDS} THEN
        PERFORM pg_catalog.set_config(counter, (ended + 1)::text, true);
      END IF;
      RETURN NEW;
    END
    $$
    """,
    """
    CREATE TRIGGER end_alone BEFORE UPDATE OF status ON {schema}.tasks FOR EACH ROW
    WHEN (NEW.status IN ('completed', 'failed', 'cancelled') AND OLD.status <> NEW.status)
    EXECUTE FUNCTION {schema}.end_alone()
    """,
    """
    CREATE TRIGGER end_alone_at_once BEFORE INSERT ON {schema}.tasks FOR EACH ROW
    WHEN (NEW.status IN ('completed', 'failed', 'cancelled'))
    EXECUTE FUNCTION {schema}.end_alone()
    """,
    # The lock that earlier versions take exclusively to search for links.
    """
    CREATE FUNCTION {schema}.share_turn() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM pg_catalog.pg_advisory_xact_lock_shared((1398231633::bigint << 32) | TG_RELID::bigint);
      RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER share_turn BEFORE INSERT ON {schema}.task_links
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.share_turn()
    """,
)

DOWN = (
    "DROP TRIGGER share_turn ON {schema}.task_links",
    "DROP FUNCTION {schema}.share_turn()",
    "DROP TRIGGER end_alone_at_once ON {schema}.tasks",
    "DROP TRIGGER end_alone ON {schema}.tasks",
    "DROP FUNCTION {schema}.end_alone()",
)
