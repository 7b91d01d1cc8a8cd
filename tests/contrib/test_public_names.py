"""The adapters stand on the public names, as an application's own adapter does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import swarm_persistence
from swarm_persistence import contrib

OWN = {"session._revision"}
"""Private attributes of an adapter's own classes."""


def imported(source: str) -> Iterator[str]:
    """Yield the library's modules and names that a module imports, but those of other adapters: `module.name`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name.split(".")[0] == "swarm_persistence")
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield f"{'.' * node.level}{node.module or ''}"
        elif isinstance(node, ast.ImportFrom) and re.match(r"swarm_persistence(?!\.contrib\.)\b", node.module or ""):
            yield from (f"{node.module}.{each.name}" for each in node.names)


def test_adapters_import_what_the_package_itself_exports_and_nothing_else() -> None:
    public = {f"swarm_persistence.{name}" for name in swarm_persistence.__all__}
    files = sorted(Path(contrib.__file__).parent.rglob("*.py"))
    found = {name for file in files for name in imported(file.read_text(encoding="utf-8"))}

    assert found >= {"swarm_persistence.DocumentModel", "swarm_persistence.Storage"}
    assert found - public == set()


def test_an_adapter_reaches_into_no_object_of_the_library() -> None:
    files = sorted(Path(contrib.__file__).parent.rglob("*.py"))

    assert {name for file in files for name in private_attributes(file.read_text(encoding="utf-8"))} == OWN


def test_each_way_of_importing_is_seen() -> None:
    source = "import swarm_persistence.clock\nfrom . import mcp\nfrom swarm_persistence.clock import now as moment\n"

    assert [*imported(source)] == ["swarm_persistence.clock", ".", "swarm_persistence.clock.now"]


def private_attributes(source: str) -> list[str]:
    """Return the private names that code takes from any object but its own."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
        and ast.unparse(node.value) not in {"self", "cls"}
    ]
