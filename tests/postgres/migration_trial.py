"""Migrates a filled database of the previous release while that release works on it; `make migrate-postgres` is it."""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import msgspec

from postgres.previous_release import install_previous
from postgres.release_programs import GO_BACK, PROBE, STORE, STORE_EACH, WATCH, WORK
from postgres.servers import Server, embedded_programs, new_server
from sqlite.programs import Program
from swarm_persistence.engines.sql.postgres.migrations import LATEST

PREVIOUS_VERSION = 2

FILL = """
INSERT INTO {schema}.tasks
  (id, task_type, priority, status, payload, retry_count, max_retries, dependencies, created_at, updated_at,
   claim_count, fails_with_dependencies, version)
SELECT
  'bulk-' || number, 'bulk', 1, CASE number % 2 WHEN 0 THEN 'completed' ELSE 'pending' END, '{{"n": 1}}', 0, 3, '[]',
  now(), now(), 0, true, 1
FROM generate_series(1, $1) AS number
"""
"""Adds tasks to a schema of any version, half of them completed."""

_WORKED = """
SELECT count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE claim_count > 1 OR retry_count > 0)
FROM {schema}.tasks
WHERE task_type = 'live'
"""


class Figures(msgspec.Struct):
    """What was measured; durations in seconds."""

    rows: int
    migration: float
    migrated: list[str]
    probes: int
    longest_write: float
    longest_read: float
    way_back: float


class Trial:
    """One database, and the programs of both releases that work on it."""

    def __init__(self, server: Server, schema: str, previous: Path, limit_seconds: float) -> None:
        self._url = server.url(schema=schema)
        self._server_url = server.url()
        self._schema = schema
        self._previous = previous
        self._limit = limit_seconds

    async def run(self, rows: int) -> Figures:
        """Fill, migrate, restart old workers, go back, and see that each live task was done once at each stage."""
        (version,) = self._start(STORE_EACH).finish()
        assert version == str(PREVIOUS_VERSION)
        await self._fill(rows)
        watcher = self._start(WATCH, self._limit)
        with self._working("old-1"):
            probe = self._start(PROBE)
            # Not before all work: the migration is to meet them.
            await self._until_worked(10)
            self._migrate(kills_after_first=True)
            migration, migrated = self._migrate()
        with self._working("old-2"), self._working("new", python=sys.executable):
            await self._until_worked(await self._worked() + 20)
        with self._working("old-3"):
            # A task that the probe stores now, only the restarted one can do.
            await self._until_worked(await self._worked() + 20)
            probe.tell("")
            probes, longest_write, longest_read = map(float, probe.finish()[-1].split())
            await self._until_worked(int(probes))
        watcher.tell(str(int(probes)))
        assert watcher.finish()[-1] == str(int(probes)), "the old watcher has missed completions"
        (refusal,) = self._start(GO_BACK).finish()
        assert "the schema has later steps; go back with the code that took them" in refusal
        way_back, _ = self._migrate("--to", str(PREVIOUS_VERSION))
        await self._see_old_ones_work_again()
        assert self._migrate()[1]
        return Figures(rows, migration, migrated, int(probes), longest_write, longest_read, way_back)

    async def _see_old_ones_work_again(self) -> None:
        done = await self._worked()
        self._start(STORE).finish()
        with self._working("old-4"):
            await self._until_worked(done + 10)

    def _migrate(self, *arguments: str, kills_after_first: bool = False) -> tuple[float, list[str]]:
        """Run the command, and return how long it took and what it says of each step."""
        start = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "swarm_persistence", "migrate", self._url, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if kills_after_first:
            assert process.stdout is not None
            lines = [process.stdout.readline(), process.stdout.readline()]
            assert f"took version {PREVIOUS_VERSION + 1}" in lines[1], lines
            process.kill()
            process.communicate()
            return time.monotonic() - start, lines
        output, errors = process.communicate(timeout=self._limit)
        assert process.returncode == 0, errors
        return time.monotonic() - start, [line for line in output.splitlines() if line.startswith("took")]

    @contextmanager
    def _working(self, name: str, python: str | Path | None = None) -> Iterator[None]:
        worker = self._start(WORK, name, python=python)
        assert worker.wait_for_line() == "open", worker.finish()
        yield
        worker.tell("")
        worker.finish()

    def _start(self, program: str, *arguments: object, python: str | Path | None = None) -> Program:
        return Program(program, self._url, *arguments, python=python or self._previous, limit_seconds=self._limit)

    async def _fill(self, rows: int) -> None:
        connection = await asyncpg.connect(self._server_url)
        try:
            await connection.execute(FILL.format(schema=self._schema), rows)
            await connection.execute(f"ANALYZE {self._schema}.tasks")
        finally:
            await connection.close()

    async def _until_worked(self, number: int) -> None:
        deadline = time.monotonic() + self._limit
        while (done := await self._worked()) < number:
            assert time.monotonic() < deadline, f"{done} live tasks are completed, of {number}"
            await asyncio.sleep(0.05)

    async def _worked(self) -> int:
        connection = await asyncpg.connect(self._server_url)
        try:
            (row,) = await connection.fetch(_WORKED.format(schema=self._schema))
        finally:
            await connection.close()
        done, repeated = row
        assert repeated == 0, f"{repeated} tasks were claimed twice"
        return int(done)


def main() -> None:
    """Run the trial with many rows, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder, new_server(embedded_programs(), is_durable=True) as server:
        previous = install_previous(Path(folder))
        figures = asyncio.run(Trial(server, "swarm", previous, limit_seconds=3600).run(rows))
    for line in report(figures):
        print(line)


def report(figures: Figures) -> list[str]:
    """Return what was measured, in lines to print."""
    return [
        f"{figures.rows:,} tasks, from version {PREVIOUS_VERSION} to {LATEST} in {figures.migration:.1f} s, and back "
        f"in {figures.way_back:.1f} s",
        *figures.migrated,
        f"{figures.probes:,} probes meanwhile: the longest write took {figures.longest_write * 1000:.0f} ms, the "
        f"longest read {figures.longest_read * 1000:.0f} ms",
    ]


if __name__ == "__main__":
    main()
