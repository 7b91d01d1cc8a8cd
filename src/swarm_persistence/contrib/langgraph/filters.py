"""Compares the values and namespaces of LangGraph's items with what a search asks for; knows no storage.

Numbers, texts and booleans are compared as `QueryBuilder.where_json` does, so that the storage can leave out most of
the items that a filter refuses.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import ge, gt, le, lt
from typing import Any, Literal, TypeAlias

from swarm_persistence.contrib.json_values import LARGEST_EXACT

Test: TypeAlias = Callable[[Any], bool]
_Operator: TypeAlias = Literal["eq", "gt", "ge", "lt", "le"]
Comparison: TypeAlias = tuple[tuple[str, ...], _Operator, str | float]
"""The arguments of `QueryBuilder.where_json` after the field."""


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are equal in JSON, where `True` is not `1`."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": _same,
    "$ne": lambda one, other: not _same(one, other),
    "$gt": gt,
    "$gte": ge,
    "$lt": lt,
    "$lte": le,
}
_SURROGATES = re.compile("[\ud800-\udfff]")
_NAMES: dict[str, _Operator] = {"$eq": "eq", "$gt": "gt", "$gte": "ge", "$lt": "lt", "$lte": "le"}
"""The operators that do not match a missing key, as `$ne` does."""


def matcher(wanted: Mapping[str, Any] | None) -> Test:
    """Return a predicate for items whose values match the filter; a key may be a path, `user.name`.

    Raises:
        ValueError: the filter has an unknown operator.

    """
    return _all_of([_at(name, _comparison(each)) for name, each in (wanted or {}).items()])


def comparisons(wanted: Mapping[str, Any] | None) -> list[Comparison | None]:
    """Return comparisons that every item the filter accepts passes; `None` for a part without one."""
    # A name with a dot may be a key or a path.
    return [
        each
        for name, part in (wanted or {}).items()
        for each in ([None] if "." in name else _comparisons((name,), part))
    ]


def matches_namespace(namespace: tuple[str, ...], match_type: str, path: Sequence[str]) -> bool:
    """Return whether a namespace begins (`prefix`) or ends (`suffix`) with a path, in which `*` is any label."""
    if match_type not in ("prefix", "suffix"):
        raise ValueError(f"match_type is {match_type!r}, expected 'prefix' or 'suffix'")
    if len(namespace) < len(path):
        return False
    part = namespace[: len(path)] if match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in ("*", label) for label, wanted in zip(part, path, strict=True))


def _all_of(tests: Sequence[Test]) -> Test:
    if len(tests) == 1:  # the common case, which is tested for thousands of items
        return tests[0]
    return lambda value: all(test(value) for test in tests)


def _at(name: str, test: Test) -> Test:
    if "." not in name:
        return lambda value: test(value.get(name))

    def test_path(value: Any) -> bool:
        if name in value:
            return test(value[name])
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return test(value)

    return test_path


def _comparison(wanted: Any) -> Test:
    if isinstance(wanted, Mapping):
        if any(name.startswith("$") for name in wanted):
            return _all_of([_operation(name, operand) for name, operand in wanted.items()])
        inner = _all_of([partial(_has, name, _comparison(each)) for name, each in wanted.items()])
        return lambda value: isinstance(value, Mapping) and inner(value)
    if isinstance(wanted, list | tuple):
        tests = [_comparison(each) for each in wanted]
        return lambda value: (
            isinstance(value, list)
            and len(value) == len(tests)
            and all(test(each) for test, each in zip(tests, value, strict=True))
        )
    return partial(_same, wanted)


def _comparisons(path: tuple[str, ...], wanted: Any) -> list[Comparison | None]:
    if not isinstance(wanted, Mapping):
        return [_compared(path, "$eq", wanted)]
    if any(name.startswith("$") for name in wanted):
        return [_compared(path, name, operand) for name, operand in wanted.items()]
    # An empty filter matches any mapping.
    return [each for name, inner in wanted.items() for each in _comparisons((*path, name), inner)] or [None]


def _compared(path: tuple[str, ...], name: str, operand: Any) -> Comparison | None:
    if any(_SURROGATES.search(text) for text in (*path, operand) if isinstance(text, str)):
        return None  # no storage can hold them
    if isinstance(operand, bool):
        return (path, "eq", operand) if name == "$eq" else None
    is_number = type(operand) in (int, float) and -LARGEST_EXACT < operand < LARGEST_EXACT
    return (path, _NAMES[name], operand) if name in _NAMES and (is_number or type(operand) is str) else None


def _has(name: str, test: Test, value: Mapping[str, Any]) -> bool:
    return test(value.get(name))


def _operation(name: str, operand: Any) -> Test:
    if name not in _OPERATORS:
        raise ValueError(f"a filter has the operator {name!r}, expected one of {', '.join(_OPERATORS)}")
    operator = _OPERATORS[name]
    is_order = name not in ("$eq", "$ne")

    def test(value: Any) -> bool:
        if is_order and isinstance(value, bool) != isinstance(operand, bool):
            return False
        try:
            return operator(value, operand)
        except TypeError:  # a text and a number have no order, nor has what is missing
            return False

    return test
