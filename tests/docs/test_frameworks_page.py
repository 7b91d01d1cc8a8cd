"""The programs of the page about frameworks print what it shows."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "frameworks.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```\n\n```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_its_programs_print_what_it_shows(tmp_path: Path) -> None:
    assert len(PROGRAMS) == PAGE.count("```python")
    for program, output in PROGRAMS:
        done = subprocess.run(
            (sys.executable, "-c", program), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.stderr, done.stdout) == ("", output)
