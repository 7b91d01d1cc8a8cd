"""The processes of a trial: started, killed with SIGKILL, started again under the same names, and ended."""

import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_PROGRAM = Path(__file__).with_name("worker.py")
_PATIENCE_SECONDS = 20


class Fleet:
    """A number of workers on one database. Leaving its block ends them all, however it is left."""

    def __init__(self, url: str, size: int, lease: float, directory: Path, rng: random.Random) -> None:
        self.kills = 0
        self._url = url
        self._size = size
        self._lease = lease
        self._directory = directory
        self._random = rng
        self._lives = [0] * size
        self._processes: list[subprocess.Popen[bytes]] = []
        self._complaints: IO[bytes]

    def __enter__(self) -> Self:
        self._complaints = (self._directory / "complaints.txt").open("wb")
        for number in range(self._size):
            self._processes.append(self._start(number))
        return self

    def kill_one(self) -> None:
        """Kill a worker, whatever it is doing, and start its next incarnation."""
        self.require_all_alive()
        number = self._random.randrange(self._size)
        _kill(self._processes[number])
        self._processes[number] = self._start(number)
        self.kills += 1

    def require_all_alive(self) -> None:
        """Raise if a worker has ended without being killed."""
        ended = {number: code for number, each in enumerate(self._processes) if (code := each.poll()) is not None}
        assert not ended, f"workers have ended by themselves, with {ended}: {self.complaints()}"

    def stop(self) -> None:
        """Let all workers end, and see that they do, in good order."""
        self.require_all_alive()
        for process in self._processes:
            _stdin(process).close()
        codes = [process.wait(_PATIENCE_SECONDS) for process in self._processes]
        assert codes == [0] * self._size, f"the workers ended with {codes}: {self.complaints()}"

    def complaints(self) -> str:
        """Return what the workers have written to their standard error."""
        return (self._directory / "complaints.txt").read_text()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._processes:
            _kill(process)
        self._complaints.close()

    def _start(self, number: int) -> "subprocess.Popen[bytes]":
        self._lives[number] += 1
        name, seed = f"worker-{number}", str(self._random.random())
        arguments: Sequence[str] = (self._url, name, f"{name}.{self._lives[number]}", seed, str(self._lease))
        return subprocess.Popen(
            [sys.executable, "-W", "error", str(_PROGRAM), *arguments], stdin=subprocess.PIPE, stderr=self._complaints
        )


def _kill(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    _stdin(process).close()


def _stdin(process: "subprocess.Popen[bytes]") -> IO[bytes]:
    assert process.stdin is not None
    return process.stdin
