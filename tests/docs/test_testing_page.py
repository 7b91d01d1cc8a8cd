"""The test files that the page about testing shows are run by pytest, as its readers run them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
_, CONFTEST, APPLICATION, WORKER, STORAGE = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("test_file", "options"),
    [
        pytest.param(APPLICATION, ("-p", "no:asyncio"), id="application"),
        pytest.param(WORKER, ("-p", "no:asyncio"), id="worker"),
        pytest.param(STORAGE, ("-k", "TestClaims", "-o", "asyncio_default_fixture_loop_scope=function"), id="storage"),
    ],
)
def test_a_test_file_of_the_page_passes(test_file: str, options: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(test_file)

    command = [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    run = subprocess.run([*command, *options, tmp_path], capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout
