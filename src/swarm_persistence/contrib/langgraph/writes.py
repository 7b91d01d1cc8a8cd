"""Keeps the pending writes of LangGraph's tasks as documents, and reads them back; knows no storage.

What a task writes in one call is one document: its `value` names the task and each write's place, channel, type and
number of bytes, its `data` holds the bytes one after the other. A write to a special channel has a document of its own,
as it may be replaced. Keys begin with the checkpoint's id.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from langgraph.checkpoint.base import WRITES_IDX_MAP, writes_sort_key
from langgraph.checkpoint.serde.base import SerializerProtocol

from swarm_persistence import DocumentModel

_Part = tuple[int, str, str, bytes]
"""Place, channel, type and bytes of a write."""


def parts_of(writes: Iterable[tuple[str, Any]], serde: SerializerProtocol) -> list[_Part]:
    """Return the writes of a call; those to special channels have a place of their own, below 0."""
    return [
        (WRITES_IDX_MAP.get(channel, number), channel, *serde.dumps_typed(value))
        for number, (channel, value) in enumerate(writes)
    ]


def documents_of(
    collection: tuple[str, ...],
    checkpoint_id: str,
    parts: Sequence[_Part],
    task_id: str,
    task_path: str,
    *,
    is_split: bool,
) -> list[DocumentModel]:
    """Return the documents of the writes of a call: one, or one for each write."""
    groups = [[part] for part in parts] if is_split else [parts] if parts else []
    return [
        DocumentModel.new(
            collection,
            f"{checkpoint_id}/{task_id}/{group[0][0]}+{len(group)}",
            [task_path, task_id, [[place, channel, kind, len(data)] for place, channel, kind, data in group]],
            b"".join([data for _, _, _, data in group]),
        )
        for group in groups
    ]


def writes_of(documents: Iterable[DocumentModel], serde: SerializerProtocol) -> list[tuple[str, str, Any]]:
    """Return task, channel and value of each write; of several in one place, the one that was stored first."""
    found: dict[tuple[str, int], tuple[str, str, str, bytes]] = {}
    for document in sorted(documents, key=lambda each: each.created_at):
        data, start = cast(bytes, document.data), 0
        task_path, task_id, *rest = document.value
        # Earlier releases kept each write as a document of its own: its place, channel and type follow the task's id.
        parts = [[*rest, len(data)]] if len(rest) == 3 else rest[0]
        for place, channel, kind, size in parts:
            found.setdefault((task_id, place), (task_path, channel, kind, data[start : start + size]))
            start += size
    ordered = sorted(found.items(), key=lambda each: writes_sort_key(each[1][0], *each[0]))
    return [(task_id, channel, serde.loads_typed((kind, data))) for (task_id, _), (_, channel, kind, data) in ordered]
