"""The tool of limits."""

from typing import Any

import msgspec

from swarm_persistence import Storage, TaskLimit


async def list_limits(storage: Storage) -> dict[str, Any]:
    """List which task types are limited: a pending task may wait because too many of its type are claimed."""
    return {"limits": [_shown(limit) for limit in await storage.list_limits()]}


def _shown(limit: TaskLimit) -> dict[str, Any]:
    fields = {name: value for name, value in msgspec.to_builtins(limit).items() if value is not None}
    return {"task_type": fields.pop("id"), **fields}
