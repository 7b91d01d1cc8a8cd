"""Validates a collection, and returns the conditions of its documents; independent of engines."""

from swarm_persistence.models.collections import ids_of_keys, texts_below
from swarm_persistence.query.query import Condition
from swarm_persistence.schema.values import path


def collection_argument(value: object, name: str = "collection") -> str:
    """Return the text of a collection, given as a tuple or list of texts."""
    return path(tuple(value) if type(value) is list else value, name)


def documents_of(collection: str) -> tuple[Condition, ...]:
    """Return the conditions on ids of a collection's documents."""
    first, end = ids_of_keys(collection)
    return Condition("id", ">=", first), Condition("id", "<", end)


def collections_below(collection: str, field: str = "id") -> tuple[Condition, ...]:
    """Return the conditions, on ids or collections, of the documents of a collection and of all below it."""
    bounds = texts_below(collection)
    if bounds is None:
        return ()
    return Condition(field, ">=", bounds[0]), Condition(field, "<", bounds[1])
