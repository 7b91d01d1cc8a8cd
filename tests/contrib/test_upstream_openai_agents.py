"""The OpenAI Agents SDK's own tests of sessions pass with ours."""

import os
import re
import subprocess
import sys
from pathlib import Path

from contrib.upstream.sources import source_tree

FILES = (
    "tests/memory/test_session.py",
    "tests/memory/test_session_context_wrapper.py",
    "tests/memory/test_session_limit.py",
    "tests/memory/test_session_persistence_sanitize.py",
    "tests/test_soft_cancel.py",
)
FEWEST = 100


def test_the_openai_agents_sdks_own_tests_pass_with_our_session() -> None:
    tree = source_tree("openai-agents")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent / "upstream")}
    environment.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(
        (sys.executable, "-m", "pytest", "-q", "-p", "openai_agents_plugin", "-p", "no:cacheprovider", "-n0", *FILES),
        cwd=tree, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout[-2000:]
    assert int(passed[1]) >= FEWEST
