"""Version 11: one statement stores tasks that have dependencies.

The statements within the function see everything that was committed before the dependencies were locked; the statement
that calls it does not. Code of earlier versions keeps working.
"""

UP = (
    # No task may wait for a new one yet, or it could close a cycle; and none that has failed may be waited for.
    """
    CREATE FUNCTION {schema}.completed_among(referred text[], added text[], held bigint) RETURNS text[]
    LANGUAGE plpgsql AS $$
    DECLARE
      completed text[];
      is_vain boolean;
    BEGIN
      IF EXISTS (SELECT FROM {schema}.task_links WHERE dependency_id = ANY (added)) THEN
        RETURN NULL;
      END IF;
      SELECT array_agg(id) FILTER (WHERE status = 'completed'), bool_or(status IN ('failed', 'cancelled'))
      INTO completed, is_vain
      FROM {schema}.tasks
      WHERE id = ANY (referred);
      RETURN CASE WHEN is_vain THEN NULL ELSE coalesce(completed, '{}') END;
    END
    $$
    """,
)

DOWN = ("DROP FUNCTION {schema}.completed_among(text[], text[], bigint)",)
