"""Version 8: one statement fails or cancels many tasks that no other task waits for.

The function's own statement sees all links that were stored before the task was locked. Code of earlier versions works
on beside it.
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
