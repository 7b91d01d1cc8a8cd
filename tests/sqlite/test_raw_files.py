"""Facts about the bytes of a database's files that are read while other processes make and delete the files."""

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from swarm_persistence.engines.sql.sqlite.log import commits_behind, dropped_commits
from swarm_persistence.engines.sql.sqlite.raw_file import _CHUNK, copy_bytes

MAKE_AND_DELETE = """
import os, sys
print("ready", flush=True)
while True:
    os.close(os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY))
    os.unlink(sys.argv[1])
"""


def test_a_log_that_appears_while_it_is_looked_for_is_read(path: Path) -> None:
    log = Path(f"{path}-wal")
    with subprocess.Popen([sys.executable, "-c", MAKE_AND_DELETE, log], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"ready\n"
            for _ in range(5_000):
                assert dropped_commits(log) == commits_behind(log, 0) == 0
        finally:
            other.kill()


@pytest.mark.parametrize("size", [0, _CHUNK, _CHUNK + 1, 3 * _CHUNK - 1])
def test_a_copy_has_all_bytes_of_the_file_whatever_part_is_read_at_once(path: Path, size: int) -> None:
    path.write_bytes(Random(size).randbytes(size))
    copy = path.with_name("copy.db")

    copy_bytes(path, copy)

    assert copy.read_bytes() == path.read_bytes()
