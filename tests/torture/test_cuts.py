"""The short form of the power cuts, and that their judge has teeth."""

from pathlib import Path

import pytest

from torture.cuts import cut, under_load, under_load_at_normal
from torture.trials import Trial, run_trial


def test_a_power_cut_takes_nothing_that_was_acknowledged_and_leaves_nothing_half_done() -> None:
    for seed in range(1, 141):
        run_trial(cut, seed)


def test_a_disk_that_drops_one_synced_write_in_a_hundred_is_caught(tmp_path: Path) -> None:
    _require_caught(lambda seed, directory: under_load(seed, directory, dropped=0.01), under_load, tmp_path)


def test_durability_normal_judged_as_full_is_caught(tmp_path: Path) -> None:
    def judged_as_full(seed: int, directory: Path) -> None:
        under_load_at_normal(seed, directory, judged_as="full")

    _require_caught(judged_as_full, under_load_at_normal, tmp_path)


def _require_caught(broken: Trial, sound: Trial, directory: Path) -> None:
    """Require that a trial finds what is broken, and nothing where the same seed meets what is sound."""
    for seed in range(1, 61):
        try:
            broken(seed, _new(directory / f"broken {seed}"))
        except Exception:  # a broken promise, or a storage that cannot be opened or read any more
            sound(seed, _new(directory / f"sound {seed}"))
            return
    pytest.fail("60 trials have found nothing")


def _new(directory: Path) -> Path:
    directory.mkdir()
    return directory
