"""Compares the values and namespaces of LangGraph's items with what a search asks for; knows no storage."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import eq, ge, gt, le, lt, ne
from typing import Any, TypeAlias

Test: TypeAlias = Callable[[Any], bool]
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {"$eq": eq, "$ne": ne, "$gt": gt, "$gte": ge, "$lt": lt, "$lte": le}


def matcher(wanted: Mapping[str, Any] | None) -> Test:
    """Return what tells whether an item's value has all that a filter names; a key may be a path, `user.name`.

    Raises:
        ValueError: the filter has an unknown operator.

    """
    return _all_of([_at(name, _comparison(each)) for name, each in (wanted or {}).items()])


def matches_namespace(namespace: tuple[str, ...], match_type: str, path: Sequence[str]) -> bool:
    """Return whether a namespace begins (`prefix`) or ends (`suffix`) with a path, in which `*` is any label."""
    if match_type not in ("prefix", "suffix"):
        raise ValueError(f"match_type is {match_type!r}, expected 'prefix' or 'suffix'")
    if len(namespace) < len(path):
        return False
    part = namespace[: len(path)] if match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in ("*", label) for label, wanted in zip(part, path, strict=True))


def _all_of(tests: Sequence[Test]) -> Test:
    if len(tests) == 1:  # most filters: thousands of items are tested
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
    return partial(eq, wanted)


def _has(name: str, test: Test, value: Mapping[str, Any]) -> bool:
    return test(value.get(name))


def _operation(name: str, operand: Any) -> Test:
    if name not in _OPERATORS:
        raise ValueError(f"a filter has the operator {name!r}, expected one of {', '.join(_OPERATORS)}")
    operator = _OPERATORS[name]

    def test(value: Any) -> bool:
        try:
            return operator(value, operand)
        except TypeError:  # a text and a number have no order, nor has what is missing
            return False

    return test
