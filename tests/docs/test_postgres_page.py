"""Every Python block of the page about PostgreSQL runs as it stands; the security facts run its SQL."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from postgres.conftest import server
from postgres.servers import Server
from swarm_persistence.engines.sql.postgres.settings import PostgresSettings

__all__ = ["server"]

TEXT = (Path(__file__).parents[2] / "docs" / "postgres.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_a_program_of_the_page_runs(program: str, server: Server, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "SWARM_DATABASE_URL": server.url(schema="documented")},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_the_page_tells_every_option_and_its_default() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| `?(\w+)`? \|", TEXT, re.MULTILINE))

    defaults = {name: getattr(PostgresSettings(), name) for name in PostgresSettings.__struct_fields__}
    assert told == {
        name: f"{value:g}" if isinstance(value, float) else str(value).lower() for name, value in defaults.items()
    }
