"""Compares the values and namespaces of LangGraph's items with what a search asks for; knows no storage."""

from collections.abc import Callable, Mapping, Sequence
from operator import eq, ge, gt, le, lt, ne
from typing import Any

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {"$eq": eq, "$ne": ne, "$gt": gt, "$gte": ge, "$lt": lt, "$lte": le}


def matches(value: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    """Return whether an item's value has all that a filter names; a key may be a path, `user.name`."""
    return all(_compares(_found(value, name), each) for name, each in (wanted or {}).items())


def matches_namespace(namespace: tuple[str, ...], match_type: str, path: Sequence[str]) -> bool:
    """Return whether a namespace begins (`prefix`) or ends (`suffix`) with a path, in which `*` is any label."""
    if match_type not in ("prefix", "suffix"):
        raise ValueError(f"match_type is {match_type!r}, expected 'prefix' or 'suffix'")
    if len(namespace) < len(path):
        return False
    part = namespace[: len(path)] if match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in ("*", label) for label, wanted in zip(part, path, strict=True))


def _found(value: Any, name: str) -> Any:
    if name in value:
        return value[name]
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _compares(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        if any(name.startswith("$") for name in wanted):
            return all(_applies(name, value, operand) for name, operand in wanted.items())
        return isinstance(value, Mapping) and all(_compares(value.get(name), each) for name, each in wanted.items())
    if isinstance(wanted, list | tuple):
        is_alike = isinstance(value, list) and len(value) == len(wanted)
        return is_alike and all(_compares(each, other) for each, other in zip(value, wanted, strict=True))
    return bool(value == wanted)


def _applies(operator: str, value: Any, operand: Any) -> bool:
    if operator not in _OPERATORS:
        raise ValueError(f"a filter has the operator {operator!r}, expected one of {', '.join(_OPERATORS)}")
    try:
        return _OPERATORS[operator](value, operand)
    except TypeError:  # a text and a number have no order, nor has what is missing
        return False
