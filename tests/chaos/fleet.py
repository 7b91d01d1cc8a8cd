"""The processes of a trial: started, killed with SIGKILL, started again under the same names, and ended."""

import random
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from chaos.worker import Birth, live

_TIMEOUT_SECONDS = 20

# Most of a new interpreter's time goes into imports, and a trial starts many.
_context = get_context("forkserver")


class _Life(NamedTuple):
    process: BaseProcess
    end: "Connection[Any, Any]"
    """Closed, it lets the process end."""

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.end.close()


class Fleet:
    """A number of workers on one database. Leaving its block ends them all, however it is left."""

    def __init__(self, url: str, size: int, lease: float, directory: Path, rng: random.Random) -> None:
        self.kills = 0
        self._url = url
        self._size = size
        self._lease = lease
        self._complaints = directory / "complaints.txt"
        self._random = rng
        self._lives = [0] * size
        self._alive: list[_Life] = []

    def __enter__(self) -> Self:
        self._complaints.touch()
        for number in range(self._size):
            self._alive.append(self._start(number))
        return self

    def kill_one(self) -> None:
        """Kill a worker, whatever it is doing, and start its next incarnation."""
        self.require_all_alive()
        number = self._random.randrange(self._size)
        self._alive[number].kill()
        self._alive[number] = self._start(number)
        self.kills += 1

    def require_all_alive(self) -> None:
        """Raise if a worker has ended without being killed."""
        codes = {number: each.process.exitcode for number, each in enumerate(self._alive)}
        ended = {number: code for number, code in codes.items() if code is not None}
        assert not ended, f"workers have ended by themselves, with {ended}: {self.complaints()}"

    def stop(self) -> None:
        """Let all workers end, and see that they do, in good order."""
        self.require_all_alive()
        for worker in self._alive:
            worker.end.close()
        for worker in self._alive:
            worker.process.join(_TIMEOUT_SECONDS)
        codes = [worker.process.exitcode for worker in self._alive]
        assert codes == [0] * self._size, f"the workers ended with {codes}: {self.complaints()}"

    def complaints(self) -> str:
        """Return what the workers have written to their standard error."""
        return self._complaints.read_text()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for worker in self._alive:
            worker.kill()

    def _start(self, number: int) -> _Life:
        self._lives[number] += 1
        name, seed = f"worker-{number}", str(self._random.random())
        receiver, end = _context.Pipe(duplex=False)
        birth = Birth(self._url, name, f"{name}.{self._lives[number]}", seed, self._lease)
        process = _context.Process(target=live, args=(birth, receiver, self._complaints))
        process.start()
        receiver.close()
        return _Life(process, end)
