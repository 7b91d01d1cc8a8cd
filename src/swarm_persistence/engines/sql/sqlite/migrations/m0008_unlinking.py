"""Version 8: completing a dependency does not rewrite the row of a task that waits for many others.

SQLite writes a row as a whole: counting down for each of 100,000 dependencies wrote a list of 4 MB 100,000 times. A
trigger now counts the links, and only once at most 8 are left. Code of versions 6 and 7 keeps working: it decrements
the counter, which is never below the number of links, and deletes the links, which fires the trigger.
"""

UP = (
    """
    CREATE TRIGGER task_links_deleted AFTER DELETE ON task_links
    WHEN (SELECT count(*) FROM (SELECT 1 FROM task_links WHERE task_id = OLD.task_id LIMIT 9)) <= 8 BEGIN
      UPDATE tasks SET unmet_dependencies = (SELECT count(*) FROM task_links WHERE task_id = OLD.task_id)
      WHERE id = OLD.task_id;
    END
    """,
)

DOWN = (
    "DROP TRIGGER task_links_deleted",
    # Code before version 8 decrements the counter for each link, down to 0.
    """
    UPDATE tasks SET unmet_dependencies = (SELECT count(*) FROM task_links WHERE task_id = tasks.id)
    WHERE unmet_dependencies > 0
    """,
)
