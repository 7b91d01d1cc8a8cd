"""LangGraph's own tests of stores pass with ours, except those that the plugin excludes by name."""

import pytest

from contrib.upstream.running import run_upstream
from postgres.conftest import schema, server, url

__all__ = ["schema", "server", "url"]

OF_SQLITE = ("test_store.py", "test_async_store.py", "test_ttl.py")


def passed_tests(package: str, files: tuple[str, ...], target: str, request: pytest.FixtureRequest) -> int:
    """Run tests of a source distribution with our store on this target, and return how many pass."""
    place = request.getfixturevalue("url") if target == "postgres" else target
    options = ("-n0", "-c", "pyproject.toml", *(f"tests/{file}" for file in files))
    return run_upstream(package, "langgraph_store_plugin", *options, STORE_TARGET=place).passed


def test_the_tests_of_langgraphs_store_in_memory_pass_in_memory(request: pytest.FixtureRequest) -> None:
    assert passed_tests("langgraph-checkpoint", ("test_store.py",), "named", request) >= 117


@pytest.mark.frameworks
@pytest.mark.parametrize(("target", "fewest"), [("sqlite", 117), ("postgres", 66)])
def test_the_tests_of_langgraphs_store_in_memory_pass(target: str, fewest: int, request: pytest.FixtureRequest) -> None:
    assert passed_tests("langgraph-checkpoint", ("test_store.py",), target, request) >= fewest


@pytest.mark.frameworks
@pytest.mark.parametrize(("target", "fewest"), [("named", 144), ("postgres", 142)])
def test_the_tests_of_langgraphs_store_on_sqlite_pass(target: str, fewest: int, request: pytest.FixtureRequest) -> None:
    assert passed_tests("langgraph-checkpoint-sqlite", OF_SQLITE, target, request) >= fewest


@pytest.mark.frameworks
def test_those_that_ask_for_memory_pass_on_sqlite_as_well(request: pytest.FixtureRequest) -> None:
    assert passed_tests("langgraph-checkpoint-sqlite", OF_SQLITE[:2], "sqlite", request) >= 133
