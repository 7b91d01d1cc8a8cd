"""Runs programs with the code of an earlier state of this package, beside those with the present one."""

import subprocess
from pathlib import Path

VERSION_2 = "70f7e9e"
"""The last commit whose schema has version 2."""
VERSION_5 = "98670f8"
"""The last commit whose schema has version 5: the previous release."""
WITHOUT_PRIORITIES = "3f680ce"
"""The last commit without priorities of messages and tasks of events: SQLite's version 7, PostgreSQL's 11."""
WITHOUT_GROUPS = "29b02e4"
"""The last commit without groups and tags: SQLite's version 10, PostgreSQL's 14."""
WITHOUT_TRACES = "869c9ab"
"""The last commit without traces of tasks: SQLite's version 11, PostgreSQL's 15."""
WITHOUT_SCHEDULES = "33d2d8c"
"""The last commit without schedules and progress: SQLite's version 12, PostgreSQL's 16."""
WITHOUT_WORD_INDEX = "7c6e66b"
"""The last commit without an index of words: SQLite's version 13, PostgreSQL's 17."""
WITHOUT_LIMITS = "32c6029"
"""The last commit without limits and capabilities: SQLite's version 14, PostgreSQL's 18."""
WITHOUT_VECTORS = "82939bc"
"""The last commit without copies of embeddings: PostgreSQL's 19."""
WITHOUT_PAST_CLAIMS = "25c5fe5"
"""The last commit without past claims of tasks: SQLite's version 15, PostgreSQL's 20."""

_ROOT = Path(__file__).parents[2]


def unpack(commit: str, folder: Path) -> Path:
    """Unpack the package as it was at a commit, and return the directory to import it from."""
    archive = subprocess.run(["git", "-C", _ROOT, "archive", commit, "src"], capture_output=True, check=False)
    assert archive.returncode == 0, f"this test takes the whole history: {archive.stderr.decode()}"
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return folder / "src"


def of_release(source: str) -> str:
    """Return a program that imports the package from its last argument."""
    return f"import sys\nsys.path.insert(0, sys.argv[-1])\n{source}"
