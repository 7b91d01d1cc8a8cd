"""Finds the tests that execute a line, by one run of the tests under coverage."""

import os
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from coverage import CoverageData

from mutation.mutants import FOLDERS

TESTS = (
    "tests/conformance/test_memory.py",
    "tests/conformance/test_sqlite.py",
    "tests/engines/test_watches.py",
    "tests/storage",
    "tests/worker",
    "tests/sqlite",
)
# Tests of PostgreSQL start a server; random operations and the golden file of call paths change with most mutants, but
# state none of the facts whose tests are measured here.
_DESELECTED = ("-k", "not postgres and not TestAgreement", "--ignore=tests/sqlite/test_call_paths.py")


class LineTests:
    """The tests that execute each line of the measured folders."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._data = [_read(file) for file in files]

    def of(self, module: Path, line: int, limit: int, seed: int) -> Sequence[str]:
        """Return at most `limit` tests of a line, drawn at random; of its module if none executes the line itself."""
        lines: defaultdict[int, set[str]] = defaultdict(set)
        for data in self._data:
            for number, contexts in data.contexts_by_lineno(str(module)).items():
                lines[number].update(filter(None, contexts))
        found = lines[line] or set().union(*lines.values())
        # Those with a backslash are left out: contexts escape it, so that pytest would not find the test.
        tests = sorted({context.rpartition("|")[0] for context in found if "\\" not in context})
        return random.Random(seed).sample(tests, min(limit, len(tests)))


def _read(file: Path) -> CoverageData:
    data = CoverageData(str(file))
    data.read()
    if not data.measured_contexts():
        raise FileNotFoundError(f"{file}: no coverage by tests was recorded there")
    return data


def environment_of(tree: Path) -> dict[str, str]:
    """Return the environment in which the tests of a copy import that copy's packages."""
    return os.environ | {"PYTHONPATH": f"{tree / 'src'}:{tree / 'conformance/src'}", "PYTHONDONTWRITEBYTECODE": "1"}


def measure(tree: Path, tests: Sequence[str], workers: int) -> Path:
    """Run tests once, and return the file of their coverage, whose paths are relative to the tree.

    Raise if one fails, since a failing test would count every mutant as killed.
    """
    settings = tree / "coverage.ini"
    sources = "\n".join(f"    {tree / folder}" for folder in FOLDERS)
    settings.write_text(f"[run]\nrelative_files = true\nsource =\n{sources}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-x", f"-n{workers}", *_DESELECTED, *tests]
    command += ["--cov", f"--cov-config={settings}", "--cov-context=test", "--cov-report="]
    subprocess.run(command, cwd=tree, env=environment_of(tree), check=True)
    return tree / ".coverage"
