"""Version 8: a task's row is not written at each of the many dependencies that it waits for.

SQLite writes a row as a whole: to count down for each of 100,000 dependencies wrote a list of 4 MB 100,000 times. Now a
trigger counts, and only when at most 8 links are left. Code of versions 6 and 7 works on: it decrements the counter,
which is never below the number of links, and deletes the links, so that the trigger fires for it, too.
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
