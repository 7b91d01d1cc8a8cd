"""Runs tests of a framework's source distribution with our adapter in the place of theirs, and counts them."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from contrib.upstream.sources import source_tree


class Outcome(NamedTuple):
    """What a run tells at its end; a test that fails or cannot run has no outcome."""

    passed: int
    deselected: int
    skipped: int


def run_upstream(package: str, plugin: str, *options: str, **environment: str) -> Outcome:
    """Run tests of a package with the plugin that puts our adapter there; all of those that run must pass."""
    variables = {**os.environ, **environment, "PYTHONPATH": str(Path(__file__).parent)}
    variables.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(
        (sys.executable, "-m", "pytest", "-q", "-p", plugin, "-p", "no:cacheprovider", *options),
        cwd=source_tree(package), env=variables, capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    summary = done.stdout.splitlines()[-1]
    print(f"{package}: {summary}")  # noqa: T201 - for `pytest -rP`, which shows the counts
    return Outcome(*(_count(word, summary) for word in Outcome._fields))


def _count(word: str, summary: str) -> int:
    found = re.search(rf"(\d+) {word}", summary)
    return int(found[1]) if found else 0
