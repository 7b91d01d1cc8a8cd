"""Reads columns of all readable rows, so that one damaged row does not block a verb for all others."""

import logging
from typing import Any

import msgspec

from swarm_persistence.engines.interface import Executor
from swarm_persistence.engines.reads import Values
from swarm_persistence.errors import UnreadableError
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.schema.tables import SEQUENCE

_log = logging.getLogger(__name__)


async def readable_values(
    executor: Executor, query: Query[Any], fields: tuple[str, ...]
) -> tuple[list[Any], list[UnreadableError]]:
    """Return the values of a query's readable rows, and the error of each unreadable row, which is logged."""
    skipped: list[UnreadableError] = []
    while True:
        others = msgspec.structs.replace(query, conditions=(*query.conditions, *without(skipped)))
        try:
            return [*await executor.read(Values(others, fields))], skipped
        except UnreadableError as error:
            skip_unreadable(error, skipped)


def without(skipped: list[UnreadableError]) -> tuple[Condition, ...]:
    """Return the conditions that exclude the skipped rows."""
    return tuple(Condition(SEQUENCE, "<>", error.sequence) for error in skipped)


def skip_unreadable(error: UnreadableError, skipped: list[UnreadableError]) -> None:
    """Log an unreadable row and add it to `skipped`; re-raise the error if the row cannot be excluded."""
    if error.sequence is None or any(error.sequence == each.sequence for each in skipped):
        raise error
    _log.error("skipped: %s", error)
    skipped.append(error)
