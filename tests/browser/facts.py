"""The facts of the conformance suite as tests in a browser, which tries all that are chosen at once."""

import inspect
from collections.abc import Iterable
from typing import Any

import pytest

import swarm_persistence_conformance as conformance

Outcomes = dict[str, list[str]]
"""What went wrong with each fact, by its name."""


def facts(repeated: tuple[str, ...]) -> list[Any]:
    """Return the names of all facts, as parameters; those that begin so are left to `make test-browsers`."""
    names = [
        f"{cls.__name__}.{name}"
        for cls in conformance.CORE
        for name, _ in inspect.getmembers(cls, inspect.iscoroutinefunction)
        if name.startswith("test_")
    ]
    return [pytest.param(name, marks=pytest.mark.browsers if name.startswith(repeated) else ()) for name in names]


def chosen_facts(request: pytest.FixtureRequest) -> list[str]:
    """Return the facts of the requesting file that this run has selected."""
    return [
        str(item.callspec.params["fact"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path and "fact" in item.fixturenames
    ]


def shares(names: list[str], count: int) -> list[list[str]]:
    """Share facts out among tabs: of each class, whose facts take about as long, each tab gets as many."""
    return [names[place::count] for place in range(count)]


def outcomes_by_fact(cases: Iterable[tuple[str, str | None]]) -> Outcomes:
    """Collect what went wrong with each fact, from the cases of it that a page has tried."""
    outcomes: Outcomes = {}
    for name, error in cases:
        broken = outcomes.setdefault(name.strip("'\"").partition("[")[0], [])
        if error is not None:
            broken.append(f"{name}\n{error}")
    return outcomes
