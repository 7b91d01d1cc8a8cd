"""Version 6: pending and ready tasks are sorted by priority and arrival, so their indexes no longer contain
`created_at`.

Code of versions 2 to 5 that has the file open keeps working. It sorts tasks of one priority by `created_at`, which no
index supports any more: each of its claims reads all ready tasks of the highest priority.
"""

_NAMES = ("tasks_pending", "tasks_ready", "tasks_ready_by_type")

UP = (
    *(f"DROP INDEX {name}" for name in _NAMES),
    "CREATE INDEX tasks_pending ON tasks (priority DESC) WHERE status = 'pending'",
    """
    CREATE INDEX tasks_ready ON tasks (priority DESC)
    WHERE status = 'pending' AND unmet_dependencies = 0 AND is_delayed = 0
    """,
    """
    CREATE INDEX tasks_ready_by_type ON tasks (task_type, priority DESC)
    WHERE status = 'pending' AND unmet_dependencies = 0 AND is_delayed = 0
    """,
)

DOWN = (
    *(f"DROP INDEX {name}" for name in _NAMES),
    "CREATE INDEX tasks_pending ON tasks (priority DESC, created_at) WHERE status = 'pending'",
    """
    CREATE INDEX tasks_ready ON tasks (priority DESC, created_at)
    WHERE status = 'pending' AND unmet_dependencies = 0 AND is_delayed = 0
    """,
    """
    CREATE INDEX tasks_ready_by_type ON tasks (task_type, priority DESC, created_at)
    WHERE status = 'pending' AND unmet_dependencies = 0 AND is_delayed = 0
    """,
)
