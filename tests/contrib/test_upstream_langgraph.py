"""LangGraph's own tests of graphs pass with our saver."""

import os
import re
import subprocess
import sys
from pathlib import Path

from contrib.upstream.sources import source_tree

FEWEST = 648
"""The tests of LangGraph 1.1; later versions have more."""


def test_langgraphs_own_tests_pass_with_our_saver() -> None:
    tree = source_tree("langgraph")
    environment = {**os.environ, "NO_DOCKER": "true", "PYTHONPATH": str(Path(__file__).parent / "upstream")}
    environment.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(
        (sys.executable, "-m", "pytest", "-q", "-p", "langgraph_plugin", "-n", "2", "-p", "no:cacheprovider"),
        cwd=tree, env=environment, capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout[-2000:]
    assert int(passed[1]) >= FEWEST
