"""Writes to a terminal, or plain lines if standard output is not one."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from swarm_persistence.cli.failure import CommandError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WIDTH_WITHOUT_TERMINAL = 10_000  # no row is broken, so that grep finds all of it
_LINES_WITHOUT_TERMINAL = 4


Meter = Callable[[int], None]
"""A progress display: called with the number of what is done."""


def open_console(*, is_quiet: bool = False, least: int = 0) -> "Console":
    """Return the console on standard output, of a `least` width; a quiet one prints nothing.

    Raises:
        CommandError: rich is not installed.

    """
    try:
        from rich.console import Console
    except ImportError:
        raise CommandError("this needs rich: pip install 'swarm-persistence[cli]'") from None
    width = None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL
    console = Console(highlight=False, width=width, quiet=is_quiet)
    console.width = max(console.width, least)
    return console


def new_table(title: str, *columns: str) -> "Table":
    """Return an empty table whose first column is text and whose others are numbers."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position else "left", overflow="fold")
    return table


def print_line(console: "Console", text: str, style: str | None = None) -> None:
    """Print a line without wrapping and markup."""
    console.print(text, style=style, markup=False, soft_wrap=True)


@contextmanager
def meter(console: "Console", title: str, total: int) -> Iterator[Meter]:
    """Show a progress bar within the block; without a terminal, a line for every quarter."""
    if not console.is_terminal:
        yield _lines(console, title, total)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        shown = progress.add_task(title, total=total)
        yield lambda done: progress.update(shown, completed=done)


def _lines(console: "Console", title: str, total: int) -> Meter:
    step = next_shown = total / _LINES_WITHOUT_TERMINAL

    def show(done: int) -> None:
        nonlocal next_shown
        if total and done >= next_shown:
            next_shown = (done // step + 1) * step
            print_line(console, f"{title}: {done:,} of {total:,}")

    return show
