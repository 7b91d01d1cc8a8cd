"""The adapters stand on the public names, as an application's own adapter would."""

import ast
from collections.abc import Iterator
from pathlib import Path

import swarm_persistence
from swarm_persistence import contrib

WITHOUT_PUBLIC_FORM = {
    "clock.now",
    "durations.LONGEST_SECONDS",
    "durations.seconds",
    "errors.shown",
    "models.collections.collection_text",
    "models.collections.texts_below",
    "query.builder.LARGEST_LIMIT",
    "query.builder.bound",
    "query.json_tests.JsonOperator",
    "query.json_tests.JsonScalar",
    "query.json_tests.LARGEST_EXACT",
}
"""What adapters import beside public names: checks of arguments, and the texts by which collections sort. An entry may
leave this set, and none may come in."""


def imported(source: str) -> Iterator[str]:
    """Yield the library's names that a module imports, but those of other adapters, each after its module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name.split(".")[0] == "swarm_persistence")
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield f"{'.' * node.level}{node.module or ''}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "swarm_persistence":
            module = f"{node.module}.".removeprefix("swarm_persistence.")
            if not module.startswith("contrib."):
                yield from (f"{module}{each.name}" for each in node.names)


def test_adapters_import_no_further_internal_names() -> None:
    public = set(swarm_persistence.__all__)
    files = sorted(Path(contrib.__file__).parent.rglob("*.py"))
    found = {name for file in files for name in imported(file.read_text(encoding="utf-8"))}

    assert found & {"models.DocumentModel", "DocumentModel"}
    assert {name for name in found if name.rpartition(".")[2] not in public} == WITHOUT_PUBLIC_FORM


def test_each_way_of_importing_is_seen() -> None:
    source = "import swarm_persistence.clock\nfrom . import mcp\nfrom swarm_persistence.clock import now as moment\n"

    assert [*imported(source)] == ["swarm_persistence.clock", ".", "clock.now"]
