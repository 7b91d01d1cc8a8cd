"""Tries mutants: each in a copy of the tree, by the tests that execute its line."""

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue

from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_item import MutationSpec, TestOutcome

from mutation.exit_codes import command_of, has_failed_test
from mutation.line_tests import environment_of

KILLED, TIMED_OUT, SURVIVED, UNTESTED, UNCLEAR = "killed", "timed out", "survived", "in a module of no test", "unclear"


@dataclass(frozen=True)
class Trial:
    """What became of one mutant."""

    place: str
    operator: str
    outcome: str
    difference: str = ""


class Copies:
    """Copies of the tree, one for each trial that runs at a time: a mutant is written into the file itself."""

    def __init__(self, tree: Path, count: int) -> None:
        self._tree = tree
        self._free: SimpleQueue[Path] = SimpleQueue()
        for number in range(count):
            copy = tree.with_name(f"copy-{number}")
            shutil.copytree(tree, copy, symlinks=True)
            self._free.put(copy)

    def try_mutant(self, mutant: MutationSpec, tests: Sequence[str], seconds: float) -> Trial:
        """Run the tests on a mutant."""
        module = mutant.module_path.relative_to(self._tree)
        line, column = mutant.start_pos
        trial = Trial(f"{module}:{line}:{column}", mutant.operator_name.removeprefix("core/"), UNTESTED)
        if not tests:
            return trial
        copy = self._free.get()
        try:
            (copy / "tests.txt").write_text("\n".join(tests))
            there = _of_copy(mutant, copy / module)
            result = mutate_and_test([there], _command(copy), seconds)
        finally:
            self._free.put(copy)
        output = result.output or ""
        if result.test_outcome == TestOutcome.SURVIVED:
            outcome = SURVIVED
        elif output == "timeout":
            outcome = TIMED_OUT
        else:
            outcome = KILLED if has_failed_test(output) else UNCLEAR
        return replace(trial, outcome=outcome, difference=result.diff or output[-2000:])


def _of_copy(mutant: MutationSpec, path: Path) -> MutationSpec:
    """Return the same mutant of a copy of its module."""
    return MutationSpec(path, mutant.operator_name, mutant.occurrence, mutant.start_pos, mutant.end_pos)


def _command(copy: Path) -> str:
    paths = environment_of(copy)["PYTHONPATH"]
    pytest = command_of("-q -x -p no:randomly -p no:xdist -p no:cov @tests.txt")
    return shlex.join(["env", "-C", str(copy), f"PYTHONPATH={paths}", "sh", "-c", pytest])
