"""Facts about what the suite takes from the library: nothing that a third party's storage lacks."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import swarm_persistence
import swarm_persistence_conformance

PUBLIC = {
    "swarm_persistence": set(swarm_persistence.__all__),
    "swarm_persistence.testing": None,
    "swarm_persistence.transfer.restoring": {"restore"},
    # The engine interface: an engine, its reads and steps, and the values that these hold.
    "swarm_persistence.engines.interface": None,
    "swarm_persistence.engines.reads": None,
    "swarm_persistence.engines.steps": None,
    "swarm_persistence.query.query": None,
    "swarm_persistence.schema.tables": None,
}
"""The modules that the suite may import from, and which names; `None` for all."""

SOURCES = sorted(Path(swarm_persistence_conformance.__file__).parent.glob("*.py"))


def imports_of(source: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(source):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def is_public(module: str, name: str) -> bool:
    if name.startswith("_") or module not in PUBLIC:
        return False
    names = PUBLIC[module]
    return names is None or name in names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_the_suite_imports_public_names_and_the_engine_interface_only(path: Path) -> None:
    imported = [
        each for each in imports_of(ast.parse(path.read_text())) if each[0].split(".")[0] == "swarm_persistence"
    ]

    assert [each for each in imported if not is_public(*each)] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_the_suite_reaches_into_no_object_of_the_library(path: Path) -> None:
    private = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
        and ast.unparse(node.value) not in {"self", "cls"}
    ]

    assert private == []


def test_the_suite_patches_nothing() -> None:
    assert [path.name for path in SOURCES if "monkeypatch" in path.read_text().lower()] == []
