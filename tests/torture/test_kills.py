"""The short form of the kills."""

from torture.kills import kill
from torture.trials import run_trial


def test_what_killed_processes_had_been_told_is_there_and_their_tasks_come_back() -> None:
    for seed in range(1, 3):
        run_trial(kill, seed)
