"""Puts files on a simulated disk, lets a process use it, and takes from it what a cut has left."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from swarm_persistence.engines.sql.sqlite import reserved_numbers
from torture.checkpoints import checkpoints_every
from torture.disk import Disk
from torture.system_calls import system_calls_noted

_PAGES_BETWEEN_CHECKPOINTS = (4, 20, 1000)


@contextmanager
def mounted(disk: Disk, rng: random.Random) -> Iterator[None]:
    """Let new connections use the disk, and move the log into the file more often than by default.

    The machine was started at another time than the one that looks at what is left.
    """
    with (
        checkpoints_every(rng.choice(_PAGES_BETWEEN_CHECKPOINTS)),
        disk.mounted(),
        system_calls_noted(disk),
        mock.patch.object(reserved_numbers, "boot_id", return_value="the start before the cut"),
    ):
        yield


def new_directory(directory: Path, image: dict[str, bytes]) -> Path:
    """Return a directory that holds these files."""
    live = directory / "live"
    live.mkdir()
    for name, content in image.items():
        (live / name).write_bytes(content)
    return live


def left_by(disk: Disk, directory: Path) -> Path:
    """Cut the power, if that has not happened yet, and return the database that is left, in a directory of its own."""
    disk.cut()
    disk.restore_into(directory)
    return directory / "swarm.db"
