"""The short form of the faults of the disk: each of them once."""

from torture.faults import fault
from torture.faulty_disk import FAULTS
from torture.trials import run_trial


def test_callers_are_told_the_truth_of_a_disk_that_fails_and_the_storage_works_again_afterwards() -> None:
    for seed in range(len(FAULTS)):
        run_trial(fault, seed)
