"""What the facts about copying and importing start from: a server, and files of the Rust crate."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from postgres.conftest import schema, server, url
from transfer.rust_files import WRITTEN_BY_RUST, RustFile

__all__ = ["schema", "server", "url"]


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Path]:
    """Give a copy of what the crate has written, alone in a directory that cannot be written."""
    directory = tmp_path / "old"
    directory.mkdir()
    path = directory / "swarm.db"
    shutil.copyfile(WRITTEN_BY_RUST, path)
    path.chmod(0o400)
    directory.chmod(0o500)
    yield path
    directory.chmod(0o700)


@pytest.fixture
def file(tmp_path: Path) -> RustFile:
    """Give a file of the crate's schema."""
    return RustFile(tmp_path / "old.db", has_plain_statuses=True)
