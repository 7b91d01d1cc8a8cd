"""Names the places of LangGraph's checkpoints, and turns their metadata into JSON and back; knows no storage."""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec

from swarm_persistence import DocumentModel, QueryBuilder
from swarm_persistence.contrib.json_values import LARGEST_EXACT, is_json, lists_for_tuples

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode
ROOT = "langgraph"
DELTA_MARKS = {"counters_since_delta_snapshot", "delta_writes_versioned"}


def place_of(config: "RunnableConfig") -> tuple[str, str]:
    """Return the thread and the namespace that a configuration names."""
    configurable = config["configurable"]
    return str(configurable["thread_id"]), configurable.get("checkpoint_ns") or ""


def config_of(thread: str, namespace: str | None = None, checkpoint_id: str | None = None) -> "RunnableConfig":
    """Return the configuration that names a thread, a namespace of it, or a checkpoint."""
    configurable = {"thread_id": thread}
    if namespace is not None:
        configurable["checkpoint_ns"] = namespace
    if checkpoint_id is not None:
        configurable["checkpoint_id"] = checkpoint_id
    return {"configurable": configurable}


def keys_of_writes(checkpoint_id: str) -> tuple[str, str]:
    """Return the bounds of the keys of a checkpoint's writes: `0` follows `/`."""
    return f"{checkpoint_id}/", f"{checkpoint_id}0"


def texts_of(ids: Iterable[Any], name: str) -> list[str]:
    """Return ids as texts; raise `TypeError` for a single text, whose characters would be taken for ids."""
    if isinstance(ids, str):
        raise TypeError(f"{name} is {ids!r}, expected a list of ids")
    return [str(each) for each in ids]


def label_of(run_id: Any) -> str | None:
    """Return the label of a run's documents."""
    if run_id is None:
        return None
    text = str(run_id)
    return text if text.isascii() else text.encode(errors="replace").decode()


def value_of(kind: str, parent: str | None, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of a checkpoint's document; tuples in its metadata become lists.

    If the metadata is not valid JSON (half of a surrogate pair, NaN), `exact` is its text as `json.dumps` writes it,
    and `metadata` has question marks and null in their places.
    """
    try:
        text = _encode(metadata)
        if b"null" not in text:  # as NaN would be
            return {"type": kind, "parent": parent, "metadata": _decode(text)}
    except UnicodeEncodeError:
        pass
    exact = _plain(metadata)
    if is_json(exact):
        return {"type": kind, "parent": parent, "metadata": exact}
    text = json.dumps(exact, ensure_ascii=False).encode(errors="replace")
    shown = json.loads(text, parse_constant=lambda _: None)
    return {"type": kind, "parent": parent, "metadata": shown, "exact": json.dumps(exact)}


def metadata_of(value: dict[str, Any]) -> Any:
    """Return the metadata that `value_of` was given."""
    return json.loads(value["exact"]) if "exact" in value else value["metadata"]


def comparisons(wanted: Mapping[str, Any]) -> list[tuple[str, str | int]]:
    """Return the names and values of a filter by which the storage finds the same checkpoints as `matches`."""
    return [(name, value) for name, value in wanted.items() if is_json([name, value]) and _is_comparable(name, value)]


def checkpoints_of(
    collection: tuple[str, ...], last: str | None, wanted: Mapping[str, Any]
) -> QueryBuilder[DocumentModel]:
    """Return a query of the checkpoints of a collection before the last one that may match a filter."""
    query = QueryBuilder(DocumentModel).where_collection(collection)
    for name, value in comparisons(wanted):
        query = query.where_json("value", ["metadata", name], "eq", value)
    return query if last is None else query.where_lt("id", DocumentModel.id_of(collection, last))


def matches(metadata: dict[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    """Return whether metadata has these values; as in LangGraph's own savers, a missing name matches `None`."""
    return all(metadata.get(name) == value for name, value in _plain(wanted or {}).items())


def _is_comparable(name: str, value: Any) -> bool:
    # In `matches`, 0 and 1 equal False and True. JSON values that could not be stored became question marks.
    is_number = type(value) is int and 1 < abs(value) < LARGEST_EXACT
    return "?" not in name and (is_number or (type(value) is str and "?" not in value))


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return cast("dict[str, Any]", lists_for_tuples(msgspec.to_builtins(metadata, str_keys=True)))
