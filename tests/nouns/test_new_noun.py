"""Facts about a noun that is new: it joins all engines and tools by its table's definition and its migrations."""

from pathlib import Path

import pytest

from nouns.new_noun import STORE_AND_COPY, copy_with_a_new_noun, run


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give where the package with a new noun is."""
    return copy_with_a_new_noun(tmp_path_factory.mktemp("packages"))


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_records_of_a_new_noun_are_stored_found_watched_and_backed_up(
    packages: Path, tmp_path: Path, kind: str
) -> None:
    target = ":memory:" if kind == "memory" else tmp_path / "swarm.db"

    run(packages, "-W", "error", "-c", STORE_AND_COPY, target, tmp_path / "backup")


def test_the_tools_take_a_new_noun_along(packages: Path, tmp_path: Path) -> None:
    database, lines = tmp_path / "swarm.db", tmp_path / "swarm.jsonl"
    run(packages, "-c", STORE_AND_COPY, database, tmp_path / "backup")
    commands = (
        ("copy", database, lines),
        ("copy", lines, tmp_path / "copy.db"),
        ("doctor", "--deep", tmp_path / "copy.db"),
        ("recover", tmp_path / "copy.db", tmp_path / "recovered.db"),
    )

    said = [run(packages, "-m", "swarm_persistence", *command) for command in commands]

    assert [text for text in said if "note" not in text] == []
