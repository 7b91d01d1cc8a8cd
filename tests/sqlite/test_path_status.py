"""Facts about the look at a path: it tells what `lstat` tells of file and size."""

import os
from pathlib import Path

import pytest

from swarm_persistence.engines.sql.sqlite.file_identity import path_status


@pytest.mark.parametrize("name", ["file", "link", "ü 日本"])
def test_it_tells_inode_and_size_as_lstat_does(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "link":
        path.symlink_to("nowhere")
    else:
        path.write_bytes(bytes(5000))

    (inode, size, device), expected = path_status(str(path))(), os.lstat(path)

    assert (inode, size) == (expected.st_ino, expected.st_size)
    assert device == path_status(str(tmp_path))()[2]


def test_each_call_reads_what_stands_there_by_then(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(10))
    status = path_status(str(path))
    before = status()

    (tmp_path / "other").write_bytes(bytes(20))
    (tmp_path / "other").rename(path)

    assert (before[1], status()[1]) == (10, 20)
    assert before[0] != status()[0]


def test_two_file_systems_have_different_devices(tmp_path: Path) -> None:
    assert path_status("/dev")()[2] != path_status(str(tmp_path))()[2]


@pytest.mark.parametrize(("name", "error"), [("missing", FileNotFoundError), ("file/below", NotADirectoryError)])
def test_what_cannot_be_looked_at_raises_as_with_lstat(tmp_path: Path, name: str, error: type[OSError]) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(error):
        path_status(str(tmp_path / name))()
