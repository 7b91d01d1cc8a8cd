"""The tools that keep what agents want to remember, as documents."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from msgspec import Meta

from swarm_persistence import DocumentModel, InvalidQueryError, Storage
from swarm_persistence.durations import LONGEST_SECONDS
from swarm_persistence.mcp.shown import DEFAULT_CHARACTERS, listed, shown
from swarm_persistence.mcp.tools.parameters import Characters, JsonValue, Limit

_MEMORIES = ("memories",)

Collection = Annotated[
    Sequence[str],
    Meta(
        min_length=1,
        description="Where it is kept: a path. ['memories'] is shared by all agents; take ['memories', your agent_id] "
        "for your own.",
    ),
]


async def remember(
    storage: Storage,
    *,
    key: Annotated[str, Meta(description="The name under which to find it again; an older value is replaced.")],
    value: Annotated[JsonValue, Meta(description="What to remember: a text, or any JSON value.")],
    collection: Collection = _MEMORIES,
    label: Annotated[str | None, Meta(description="A second name, which several memories can share.")] = None,
    expires_in_seconds: Annotated[
        Annotated[float, Meta(gt=0, le=LONGEST_SECONDS)] | None, Meta(description="Forget it then. Default: never.")
    ] = None,
) -> dict[str, Any]:
    """Keep a value under a key, for yourself in later sessions or for the other agents."""
    lifetime = None if expires_in_seconds is None else timedelta(seconds=expires_in_seconds)
    expires_at = None if lifetime is None else datetime.now(UTC) + lifetime
    document = DocumentModel.new(collection, key, value, label=label, expires_at=expires_at)
    counts = await storage.put_documents([document])
    return {"key": key, "collection": [*collection], "replaced": counts.replaced > 0}


async def recall(
    storage: Storage,
    *,
    key: Annotated[str | None, Meta(description="Recall the value of this key.")] = None,
    words: Annotated[str | None, Meta(description="Find values that contain all of these words, best first.")] = None,
    label: Annotated[str | None, Meta(description="List what has this label.")] = None,
    collection: Collection = _MEMORIES,
    limit: Limit = 10,
    max_characters: Characters = DEFAULT_CHARACTERS,
) -> dict[str, Any]:
    """Recall what was remembered: by key, by words, by label, or without any of these the latest.

    Words and the latest are searched for in the collection and in all below it.
    """
    if sum(each is not None for each in (key, words, label)) > 1:
        raise InvalidQueryError("key, words and label exclude each other; give one of them, or none for the latest")
    if key is not None:
        found = await storage.get_documents(collection, [key])
        max_characters = max(max_characters, 20_000)
    elif words is not None:
        matches = await storage.search_documents(words, collection, below=True, limit=limit + 1)
        found = [match.document for match in matches]
    else:
        found = await storage.list_documents(
            collection, below=True, label=label, by_arrival=True, desc=True, limit=limit + 1
        )
    return listed("memories", (_shown(each, max_characters) for each in found), limit, "recall with a larger limit")


def _shown(document: DocumentModel, characters: int) -> dict[str, Any]:
    hint = f"recall with key={document.key!r}, collection={[*document.collection]!r} and a larger max_characters"
    fields = shown(document, characters, hint)
    if document.data is not None:
        fields["bytes"] = len(document.data)
    return fields
