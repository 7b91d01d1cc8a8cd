"""The short form of the damaged files, and what they have shown."""

from pathlib import Path

from torture.damage import damage, run_command, with_hot_journal, write
from torture.trials import run_trial


def test_damaged_files_neither_hang_nor_raise_foreign_errors_and_keep_what_is_sound() -> None:
    for seed in range(1, 13):
        run_trial(damage, seed)


def test_a_journal_that_claims_a_file_of_thousands_of_millions_of_pages_does_not_hold_recover_up(
    tmp_path: Path,
) -> None:
    image = dict(with_hot_journal())
    journal = image["swarm.db-journal"]
    write(tmp_path / "swarm.db", {**image, "swarm.db-journal": journal[:16] + b"\x10\0\0\0" + journal[20:]})

    assert run_command(["recover", str(tmp_path / "swarm.db"), str(tmp_path / "recovered.db")]) == 0
