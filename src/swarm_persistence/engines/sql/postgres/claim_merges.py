"""Splits a claim of several types into one query for each, whose rows the server merges."""

from typing import Any, NamedTuple

import msgspec

from swarm_persistence.query.query import Condition, Query
from swarm_persistence.query.split_in import split_for_merge


class Merge(NamedTuple):
    """A query for several values of a field, split into one for each; `rest` are its other conditions."""

    field: str
    heads: list[Query[Any]]
    rest: Query[Any]


def merge_of(query: Query[Any], fewest: int = 2) -> Merge | None:
    """Split a query; return `None` for one that asks for fewer values, or should be left whole."""
    heads = split_for_merge(query)
    if heads is None or len(heads) < fewest:
        return None
    heads = [msgspec.structs.replace(head, limit=None) for head in heads]
    pairs = enumerate(zip(query.conditions, heads[0].conditions, strict=True))
    place, condition = next((place, several) for place, (several, one) in pairs if several != one)
    others = (*query.conditions[:place], *query.conditions[place + 1 :])
    # As few texts as possible: what is prepared once serves other numbers of values as well. Null equals nothing.
    nothing = (*query.conditions[:place], Condition(condition.field, "="), *query.conditions[place + 1 :])
    missing = power_of_two(len(heads)) - len(heads)
    heads += [msgspec.structs.replace(heads[0], conditions=nothing)] * missing
    return Merge(condition.field, heads, msgspec.structs.replace(query, conditions=others, limit=None))


def power_of_two(least: int) -> int:
    """Return the lowest power of two that is not below a number."""
    return 1 << (least - 1).bit_length()
