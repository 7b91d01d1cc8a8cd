"""Validates a collection, and turns it into the conditions of its documents; knows no engine."""

from swarm_persistence.models.collections import ids_of_keys, texts_below
from swarm_persistence.query.query import Condition
from swarm_persistence.schema.values import path


def collection_argument(value: object, name: str = "collection") -> str:
    """Return the text of a collection that a caller names by a tuple or list of texts."""
    return path(tuple(value) if type(value) is list else value, name)


def documents_of(collection: str) -> tuple[Condition, ...]:
    """Return the conditions, by their ids, of the documents of the collection of a text."""
    first, end = ids_of_keys(collection)
    return Condition("id", ">=", first), Condition("id", "<", end)


def collections_below(collection: str, field: str = "id") -> tuple[Condition, ...]:
    """Return the conditions, by their ids or their collections, of a collection's documents and of all below it."""
    bounds = texts_below(collection)
    if bounds is None:
        return ()
    return Condition(field, ">=", bounds[0]), Condition(field, "<", bounds[1])
