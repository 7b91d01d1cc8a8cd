"""A noun that is new joins PostgreSQL by its table's definition and its migration."""

from pathlib import Path

from nouns.new_noun import STORE_AND_COPY, copy_with_a_new_noun, run


def test_records_of_a_new_noun_are_stored_found_watched_and_backed_up(url: str, tmp_path: Path) -> None:
    packages = copy_with_a_new_noun(tmp_path)

    run(packages, "-c", STORE_AND_COPY, url, tmp_path / "backup")
