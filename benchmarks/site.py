"""The directory of a run: files that are made once, and a copy of one for each measurement."""

import os
import shutil
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import apsw

from benchmarks.peers.peer import Peer
from swarm_persistence import Model


class Site:
    """Gives every measurement a file of its own, with the same rows for every peer."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._templates: dict[tuple[str, str], Path] = {}
        self._numbers = count(1)

    async def copy(self, name: str, peer: Peer, make_records: Callable[[], Sequence[Model]]) -> Path:
        """Return a new file with these records; the name stands for them."""
        template = self._templates.get((name, peer.family))
        if template is None:
            template = self._templates[name, peer.family] = self.directory / f"{name}-{peer.family}.db"
            await peer.fill(str(template), make_records())
        path = self.directory / f"copy-{next(self._numbers)}.db"
        shutil.copyfile(template, path)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # or the first commit of the measurement would write the copy
        finally:
            os.close(descriptor)
        return path

    def count(self, path: Path, table: str, condition: str = "1") -> int:
        """Count rows, once the peer has let go of the file."""
        connection = apsw.Connection(str(path))
        try:
            number: int = connection.execute(f"SELECT count(*) FROM {table} WHERE {condition}").get
        finally:
            connection.close()
        return number

    def remove(self, path: Path) -> None:
        """Remove a copy."""
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
