"""Runs programs: other processes that use the same file."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from threading import Timer

LIMIT_SECONDS = 40
"""How long a program may take before it counts as hung, and is killed."""


class Program:
    """A Python program in a process of its own; warnings are errors in it."""

    def __init__(
        self,
        source: str,
        *arguments: object,
        options: Sequence[str] = ("-W", "error"),
        python: str | Path = sys.executable,
        limit_seconds: float = LIMIT_SECONDS,
    ) -> None:
        command = [str(python), *options, "-c", dedent(source), *map(str, arguments)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        # What it has started goes with it: else that would keep the pipes open, and the test waiting.
        self._limit = Timer(limit_seconds, os.killpg, (self.process.pid, signal.SIGKILL))
        self._limit.daemon = True
        self._limit.start()

    def wait_for_line(self) -> str:
        """Wait until the program prints a line, and return it; '' if it ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, line: str) -> None:
        """Give the program a line to read."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def kill(self) -> list[str]:
        """End the program at once, as `kill -9` does, and return the whole lines that it still printed."""
        self.process.kill()
        output, _ = self._end()
        return output[: output.rfind("\n") + 1].splitlines()

    def finish(self) -> list[str]:
        """Wait for the program's end, see that it went well and said nothing on stderr, and return its lines."""
        output, errors = self._end()
        code = self.process.returncode
        assert (code, errors) == (0, ""), f"it ended with {code}, having printed {output!r}: {errors}"
        return output.splitlines()

    def _end(self) -> tuple[str, str]:
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.close()
        with process.stdout, process.stderr:
            rest = process.stdout.read(), process.stderr.read()
        process.wait()
        self._limit.cancel()
        return rest


def run_program(source: str, *arguments: object, options: Sequence[str] = ("-W", "error")) -> list[str]:
    """Run a program to its end, see that it went well, and return the lines that it printed."""
    return Program(source, *arguments, options=options).finish()
