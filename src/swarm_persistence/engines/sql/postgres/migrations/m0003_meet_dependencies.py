"""Version 3: one statement completes many tasks and unblocks their dependents.

The statements within the function see everything that was committed before the completed tasks were locked; the
statement that calls it does not. Code of version 2 keeps working.
"""

UP = (
    # The wait for a locked row is short: after a timeout, the caller handles each task alone.
    """
    CREATE FUNCTION {schema}.meet_dependencies(completed text[]) RETURNS bigint LANGUAGE plpgsql AS $$
    DECLARE
      dependents bigint;
    BEGIN
      IF NOT EXISTS (SELECT FROM {schema}.task_links WHERE dependency_id = ANY (completed)) THEN
        RETURN 0;
      END IF;
      PERFORM pg_catalog.set_config('lock_timeout', '100ms', true);
      WITH met AS (
        DELETE FROM {schema}.task_links WHERE dependency_id = ANY (completed) RETURNING task_id
      ), counted AS (
        SELECT task_id, count(*) AS met_dependencies FROM met GROUP BY task_id
      ), held AS MATERIALIZED (
        SELECT sequence AS held_sequence, met_dependencies
        FROM counted JOIN {schema}.tasks ON id = task_id
        ORDER BY sequence
        FOR UPDATE OF tasks
      )
      UPDATE {schema}.tasks
      SET unmet_dependencies = unmet_dependencies - met_dependencies
      FROM held
      WHERE sequence = held_sequence;
      GET DIAGNOSTICS dependents = ROW_COUNT;
      RETURN dependents;
    END
    $$
    """,
)

DOWN = ("DROP FUNCTION {schema}.meet_dependencies(text[])",)
