"""Finds the tests that execute a line, by one run of the tests under coverage."""

import os
import random
import subprocess
import sys
from collections.abc import Sequence
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
    """The tests that execute each line of the measured folders, in one copy of the source tree."""

    def __init__(self, data: Path) -> None:
        self._data = CoverageData(str(data))
        self._data.read()
        if not self._data.measured_contexts():
            raise FileNotFoundError(f"{data}: no coverage by tests was recorded there")

    def of(self, module: Path, line: int, limit: int, seed: int) -> Sequence[str]:
        """Return at most `limit` tests of a line, drawn at random; of its module if none executes the line itself."""
        lines = self._data.contexts_by_lineno(str(module))
        contexts = lines.get(line) or []
        if not any(contexts):
            contexts = [context for several in lines.values() for context in several]
        # Those with a backslash are left out: contexts escape it, so that pytest would not find the test.
        tests = sorted({context.rpartition("|")[0] for context in contexts if context and "\\" not in context})
        return random.Random(seed).sample(tests, min(limit, len(tests)))


def environment_of(tree: Path) -> dict[str, str]:
    """Return the environment in which the tests of a copy import that copy's packages."""
    return os.environ | {"PYTHONPATH": f"{tree / 'src'}:{tree / 'conformance/src'}", "PYTHONDONTWRITEBYTECODE": "1"}


def measure(tree: Path, workers: int) -> LineTests:
    """Run the tests once; raise if one fails, since a failing test would count every mutant as killed."""
    settings = tree / "coverage.ini"
    sources = "\n".join(f"    {tree / folder}" for folder in FOLDERS)
    settings.write_text(f"[run]\nsource =\n{sources}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-x", f"-n{workers}", *_DESELECTED, *TESTS]
    command += ["--cov", f"--cov-config={settings}", "--cov-context=test", "--cov-report="]
    subprocess.run(command, cwd=tree, env=environment_of(tree), check=True)
    return LineTests(tree / ".coverage")
