"""Facts about what stands above the storage: it uses no private attribute of another object, and no engine."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import swarm_persistence

ROOT = Path(swarm_persistence.__file__).parent

OUTSIDERS = sorted(path for name in ("worker", "demo", "cli", "transfer") for path in (ROOT / name).glob("*.py"))

INTERFACE = {
    "swarm_persistence.engines.interface",
    "swarm_persistence.engines.lines",
    "swarm_persistence.engines.reads",
}
"""The modules of the engines that any program may use: the interface, its values, and the form of a backup's lines."""

LOW_LEVEL = {
    # They examine, repair or migrate files and servers that may not be opened as a storage.
    "cli/checksums",
    "cli/deep_examination",
    "cli/doctor",
    "cli/examination",
    "cli/index_checks",
    "cli/log_examination",
    "cli/migrate",
    "cli/migration_plans",
    "cli/recover",
    "cli/repairs",
    "cli/schema_checks",
    "cli/server_checks",
    "cli/server_examination",
    # They ask which of our kinds a target is.
    "cli/partition",
    "cli/target",
    # They write and take files in place of a database.
    "transfer/backups",
    "transfer/restoring",
    # They read another program's file past any storage, and write a file in place of a database.
    "transfer/rust_import",
    "transfer/rust_source",
}
"""The modules that may use the engines directly."""


PUBLIC_NEVERTHELESS = {"_fields"}
"""Documented names that begin with an underscore: those of `ast`'s nodes."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix()


def imported_modules(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def engine_modules(tree: ast.Module) -> set[str]:
    """Return the modules of the engines that one imports, but for the interface."""
    return {name for name in imported_modules(tree) if name.startswith("swarm_persistence.engines")} - INTERFACE


def private_attributes(tree: ast.Module) -> list[str]:
    """Return the private names that code takes from any object but its own."""
    return [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
        and ast.unparse(node.value) not in {"self", "cls", "sys", "os"}
        and node.attr not in PUBLIC_NEVERTHELESS
    ]


@pytest.mark.parametrize("path", OUTSIDERS, ids=name_of)
def test_it_takes_no_private_name_of_another_object(path: Path) -> None:
    assert private_attributes(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", OUTSIDERS, ids=name_of)
def test_it_imports_no_private_name(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]

    assert [name for name in names if name.startswith("_") and not name.endswith("__")] == []


@pytest.mark.parametrize("path", OUTSIDERS, ids=name_of)
def test_it_imports_modules_of_the_engines_only_if_it_is_listed(path: Path) -> None:
    modules = engine_modules(ast.parse(path.read_text(encoding="utf-8")))

    assert bool(modules) == (name_of(path) in LOW_LEVEL), sorted(modules)


def test_a_private_name_and_a_module_of_an_engine_are_found() -> None:
    tree = ast.parse("from swarm_persistence.engines.sql import compiler\nstorage._engine.watch(self._tables)")

    assert private_attributes(tree) == ["storage._engine"]
    assert engine_modules(tree) == {"swarm_persistence.engines.sql"}
