"""Returns the sizes of documents, computed by the database without reading the values."""

from collections.abc import Iterable, Sequence

from swarm_persistence.engines.reads import Sizes
from swarm_persistence.models import DocumentModel
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.schema.tables import DOCUMENTS
from swarm_persistence.storage.storage import Storage


async def sizes_of(storage: Storage, collection: Sequence[str], keys: Iterable[str]) -> dict[str, int]:
    """Return the bytes of value, data and embedding of the documents of these keys that are stored, by key."""
    ids = {DocumentModel.id_of(tuple(collection), key): key for key in keys}
    if not ids:
        return {}
    sizes = await storage._executor().read(Sizes(Query(DOCUMENTS, (Condition("id", "IN", tuple(ids)),))))
    return {ids[id]: size for id, size in sizes}
