"""The MCP SDK's own tests of resumption pass with our event store."""

import os
import re
import subprocess
import sys
from pathlib import Path

from contrib.upstream.sources import source_tree

FEWEST = 8


def test_the_mcp_sdks_own_tests_of_resumption_pass_with_our_event_store() -> None:
    tree = source_tree("mcp")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent / "upstream")}
    environment.pop("PYTEST_XDIST_WORKER", None)
    # Their conftest has them run on asyncio only, too.
    plain = ("-q", "--noconftest", "-o", "addopts=", "-o", "log_cli=false", "-n0", "-k", "asyncio")
    options = (*plain, "-p", "no:asyncio", "-p", "mcp_plugin")
    done = subprocess.run(
        (sys.executable, "-m", "pytest", *options, "tests/interaction/transports/test_hosting_resume.py"),
        cwd=tree, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout[-2000:]
    assert int(passed[1]) >= FEWEST
