"""Version 8: one statement fails or cancels many tasks that have no dependents.

The statement within the function sees all links that were stored before the task was locked. Code of earlier versions
keeps working.
"""

UP = (
    """
    CREATE FUNCTION {schema}.is_awaited(task_id text) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
      RETURN EXISTS (SELECT FROM {schema}.task_links WHERE dependency_id = is_awaited.task_id);
    END
    $$
    """,
)

DOWN = ("DROP FUNCTION {schema}.is_awaited(text)",)
