"""What the page about telemetry shows is run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```\n\n```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("program", "output"), PROGRAMS)
def test_a_program_prints_what_it_shows(program: str, output: str, tmp_path: Path) -> None:
    done = subprocess.run(
        (sys.executable, "-W", "error", "-c", program),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert PAGE.count("```python") == len(PROGRAMS)
    assert done.stdout == output, done.stderr
