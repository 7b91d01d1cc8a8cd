"""LangGraph's own tests of stores pass with ours, except those that the plugin excludes by name."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from contrib.upstream.sources import source_tree
from postgres.conftest import schema, server, url

__all__ = ["schema", "server", "url"]

OF_SQLITE = ("test_store.py", "test_async_store.py", "test_ttl.py")


def passed_tests(package: str, files: tuple[str, ...], target: str) -> int:
    """Run tests of a source distribution with our store on this target, and return how many pass."""
    tree = source_tree(package)
    plugin = Path(__file__).parent / "upstream"
    environment = {**os.environ, "PYTHONPATH": str(plugin), "STORE_TARGET": target}
    environment.pop("PYTEST_XDIST_WORKER", None)
    options = ("-q", "-p", "langgraph_store_plugin", "-n", "2", "-p", "no:cacheprovider", "-c", "pyproject.toml")
    done = subprocess.run(
        (sys.executable, "-m", "pytest", *options, *(f"tests/{file}" for file in files)),
        cwd=tree, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout[-2000:]
    return int(passed[1])


@pytest.mark.parametrize(("target", "fewest"), [("named", 117), ("sqlite", 117), ("postgres", 66)])
def test_the_tests_of_langgraphs_store_in_memory_pass(target: str, fewest: int, request: pytest.FixtureRequest) -> None:
    place = request.getfixturevalue("url") if target == "postgres" else target

    assert passed_tests("langgraph-checkpoint", ("test_store.py",), place) >= fewest


@pytest.mark.parametrize(("target", "fewest"), [("named", 144), ("postgres", 142)])
def test_the_tests_of_langgraphs_store_on_sqlite_pass(target: str, fewest: int, request: pytest.FixtureRequest) -> None:
    place = request.getfixturevalue("url") if target == "postgres" else target

    assert passed_tests("langgraph-checkpoint-sqlite", OF_SQLITE, place) >= fewest


def test_those_that_ask_for_memory_pass_on_sqlite_as_well() -> None:
    assert passed_tests("langgraph-checkpoint-sqlite", ("test_store.py", "test_async_store.py"), "sqlite") >= 133
