"""Splits a claim of several types into one query for each, whose rows the server merges."""

from typing import Any, NamedTuple

import msgspec

from swarm_persistence.query.query import Condition, Query
from swarm_persistence.query.split_in import split_for_merge


class Merge(NamedTuple):
    """A query for several values of a field, split into one for each; `rest` are its other conditions."""

    field: str
    branches: list[Query[Any]]
    rest: Query[Any]


def merge_of(query: Query[Any], fewest: int = 2) -> Merge | None:
    """Split a query; return `None` if it has fewer values than `fewest`, or is better left whole."""
    branches = split_for_merge(query)
    if branches is None or len(branches) < fewest:
        return None
    branches = [msgspec.structs.replace(branch, limit=None) for branch in branches]
    pairs = enumerate(zip(query.conditions, branches[0].conditions, strict=True))
    place, condition = next((place, several) for place, (several, one) in pairs if several != one)
    others = (*query.conditions[:place], *query.conditions[place + 1 :])
    # Pad the values with nulls, which match nothing, so that few statements are prepared.
    nothing = (*query.conditions[:place], Condition(condition.field, "="), *query.conditions[place + 1 :])
    missing = power_of_two(len(branches)) - len(branches)
    branches += [msgspec.structs.replace(branches[0], conditions=nothing)] * missing
    return Merge(condition.field, branches, msgspec.structs.replace(query, conditions=others, limit=None))


def power_of_two(least: int) -> int:
    """Return the lowest power of two that is not below a number."""
    return 1 << (least - 1).bit_length()
