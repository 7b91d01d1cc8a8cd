"""What the exit of a run of tests says of a mutant."""

import subprocess
from pathlib import Path

import pytest

from mutation.exit_codes import command_of, has_failed_test


@pytest.mark.parametrize(
    ("source", "arguments", "verdict"),
    [
        ("def test_it(): pass", "test_it.py", False),
        ("def test_it(): assert False", "test_it.py", True),
        ("import os\ndef test_it(): os._exit(7)", "test_it.py", True),
        ("import os\ndef test_it(): os.abort()", "test_it.py", True),
        ("import missing_module\ndef test_it(): pass", "test_it.py", None),
        ("def test_it(): pass", "test_it.py::test_another", None),
        ("def test_it(): pass", "--unknown test_it.py", None),
        ("", "test_it.py", None),
    ],
    ids=["passes", "fails", "exits", "crashes", "collection fails", "not found", "usage", "no test"],
)
def test_only_a_test_that_fails_counts_as_a_mutant_found(
    tmp_path: Path, source: str, arguments: str, verdict: bool | None
) -> None:
    (tmp_path / "test_it.py").write_text(source)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = ["sh", "-c", command_of(f"-q -x -p no:randomly -p no:xdist -p no:cov {arguments}")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert has_failed_test(done.stdout) is verdict
    assert (done.returncode == 0) is (verdict is False)
