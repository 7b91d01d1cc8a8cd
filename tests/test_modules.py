"""Facts about the package's modules and classes as a whole: no import cycles, and no name for two classes."""

import ast
from collections import defaultdict
from collections.abc import Container, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import swarm_persistence

ROOT = Path(swarm_persistence.__file__).parent


@cache
def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of each module of the package, by its name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = (ROOT.name, *path.relative_to(ROOT).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree: ast.Module, names: Container[str]) -> set[str]:
    """Return which of these modules one imports anywhere: in functions, and for the sake of types, too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in names else node.module)
    return {name for name in found if name in names}


def a_cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """Return the modules of one import cycle; none if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def imports_of_all() -> dict[str, set[str]]:
    """Return what each module of the package imports of it."""
    trees = modules()
    return {name: imports(tree, trees) - {name} for name, tree in trees.items()}


def test_no_module_takes_part_in_an_import_cycle() -> None:
    assert a_cycle(imports_of_all()) == []


def test_an_import_for_types_only_counts() -> None:
    tree = ast.parse("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a.b import C\n")

    assert a_cycle({"a.b": {"a.c"}, "a.c": imports(tree, ["a.b", "a.c"])}) != []


def shared_names(trees: Mapping[str, ast.Module]) -> dict[str, list[str]]:
    """Return the names of several classes, of one module, too, and where these are."""
    places = defaultdict(list)
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{module}:{node.lineno}")
    return {name: found for name, found in places.items() if len(found) > 1}


def test_no_two_classes_share_a_name() -> None:
    assert shared_names(modules()) == {}


def test_two_classes_of_one_module_may_not_share_a_name_either() -> None:
    tree = ast.parse("class A: ...\n\ndef make():\n    class A: ...\n    class B: ...\n")

    assert shared_names({"a.b": tree}) == {"A": ["a.b:1", "a.b:4"]}
