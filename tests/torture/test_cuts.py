"""The short form of the power cuts, and that their judge has teeth."""

from collections.abc import Callable
from pathlib import Path

import pytest

from torture.cuts import cut, under_load, under_load_at_normal
from torture.trials import run_trial


def test_a_power_cut_takes_nothing_that_was_acknowledged_and_leaves_nothing_half_done() -> None:
    for seed in range(1, 141):
        run_trial(cut, seed)


def test_a_disk_that_drops_one_synced_write_in_a_hundred_is_caught(tmp_path: Path) -> None:
    _require_caught(lambda seed, directory: under_load(seed, directory, dropped=0.01), tmp_path)


def test_durability_normal_judged_as_full_is_caught(tmp_path: Path) -> None:
    _require_caught(lambda seed, directory: under_load_at_normal(seed, directory, judged_as="full"), tmp_path)


def _require_caught(trial: Callable[[int, Path], None], directory: Path) -> None:
    for seed in range(1, 61):
        own = directory / str(seed)
        own.mkdir()
        try:
            trial(seed, own)
        except Exception:  # a broken promise, or a storage that cannot be opened or read any more
            return
    pytest.fail("60 trials have found nothing")
