"""Version 4: pending and ready tasks are sorted by priority and arrival, so their indexes no longer contain
`created_at`.

Each new index is built before the old one is dropped. Code of versions 1 to 3 keeps working. It sorts tasks of one
priority by `created_at`, which no index supports any more: each of its claims reads all ready tasks of the highest
priority.
"""

from swarm_persistence.engines.sql.postgres.migrations.migration import CreateIndex, DropIndex, Part

_PENDING = "WHERE status = 'pending'"
_READY = "WHERE status = 'pending' AND unmet_dependencies = 0 AND is_delayed = false"
_TYPE = "left(task_type, 200) NULLS FIRST, "
_ROWS = {"tasks_pending": _PENDING, "tasks_ready": _READY, "tasks_ready_by_type": _READY}


def _rebuilt(order: str, new: str, old: str) -> tuple[Part, ...]:
    """Return the parts that give the indexes another order; `new` and `old` are prefixes of the names meanwhile."""
    columns = {name: f"{_TYPE}{order}" if name == "tasks_ready_by_type" else order for name in _ROWS}
    return (
        *(CreateIndex(f"{new}_{name}", f"ON {{schema}}.tasks ({columns[name]}) {_ROWS[name]}") for name in _ROWS),
        *(DropIndex(name) for name in _ROWS),
        # Remove what an interrupted step in the other direction has left.
        *(DropIndex(f"{old}_{name}") for name in _ROWS),
        *(f"ALTER INDEX {{schema}}.{new}_{name} RENAME TO {name}" for name in _ROWS),
    )


UP = _rebuilt("priority DESC NULLS LAST, sequence", "arrived", "created")

DOWN = _rebuilt("priority DESC NULLS LAST, created_at NULLS FIRST, sequence", "created", "arrived")
