"""Performs one task: measures a module, sums a package, or writes the report."""

import asyncio
from typing import Any

import msgspec

from swarm_persistence.demo.measures import Measures, measure_module
from swarm_persistence.demo.totals import Totals, sum_modules, sum_totals
from swarm_persistence.demo.vocabulary import MEASURE_MODULE, SUM_PACKAGE
from swarm_persistence.models import TaskModel
from swarm_persistence.query.builder import QueryBuilder
from swarm_persistence.storage import Storage

_IDS_IN_ONE_QUERY = 500


async def perform(storage: Storage, task: TaskModel) -> Any:
    """Return the task's result as a JSON value."""
    if task.task_type == MEASURE_MODULE:
        # In a thread, so that the heartbeat goes on.
        module, path = task.payload["module"], task.payload["path"]
        return msgspec.to_builtins(await asyncio.to_thread(measure_module, module, path))
    results = await _results(storage, task.dependencies)
    if task.task_type == SUM_PACKAGE:
        return msgspec.to_builtins(sum_modules(msgspec.convert(results, list[Measures])))
    return msgspec.to_builtins(sum_totals(msgspec.convert(results, list[Totals])))


async def _results(storage: Storage, ids: list[str]) -> list[Any]:
    results = []
    for start in range(0, len(ids), _IDS_IN_ONE_QUERY):
        some = QueryBuilder(TaskModel).where_in("id", ids[start : start + _IDS_IN_ONE_QUERY])
        results += [task.result for task in await storage.repository(TaskModel).query(some)]
    return results
