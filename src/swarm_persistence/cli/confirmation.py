"""Asks for confirmation at the terminal before records are permanently deleted."""

import sys
from collections.abc import Callable, Iterable

from swarm_persistence.cli.failure import CommandError


def confirm(command: str, facts: Callable[[], Iterable[str]]) -> None:
    """Print what would be deleted, and return if the answer is yes.

    Raises:
        CommandError: there is no terminal, or the answer is another one.

    """
    if not sys.stdin.isatty():
        raise CommandError(f"{command} asks for confirmation, and there is no terminal to answer on; pass --yes")
    for fact in facts():
        print(fact, file=sys.stderr)
    if input("delete them permanently? [y/N] ").strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was deleted", exit_code=1)
