"""The short form of the hostile values."""

from torture.hostile import hostility
from torture.trials import run_trial


def test_every_argument_is_taken_or_refused_by_an_error_of_ours_and_a_refusal_changes_nothing() -> None:
    for seed in range(1, 10):
        run_trial(hostility, seed)
