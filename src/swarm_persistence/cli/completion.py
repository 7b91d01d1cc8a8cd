"""`swarm-persistence completion`: prints the script by which a shell completes commands and options."""

import argparse
from collections.abc import Callable

from swarm_persistence.cli.failure import CommandError

_SHELLS = ("bash", "zsh", "fish", "tcsh")
_DESCRIPTION = """\
Print the script by which a shell completes commands and options. For bash: eval "$(swarm-persistence completion bash)"
in ~/.bashrc; for zsh, write it to a file _swarm-persistence in a directory of $fpath; for fish, to
~/.config/fish/completions/swarm-persistence.fish."""


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    make_parser: Callable[[], argparse.ArgumentParser],
) -> None:
    """Add the command's arguments; `make_parser` returns the parser whose commands and options are completed."""
    parser = commands.add_parser(
        "completion", help="print the script for a shell's completion", description=_DESCRIPTION
    )
    parser.add_argument("shell", choices=_SHELLS, help="the shell")
    parser.set_defaults(run=lambda arguments: _run(arguments.shell, make_parser()))


def _run(shell: str, parser: argparse.ArgumentParser) -> int:
    try:
        import shtab
    except ImportError:
        raise CommandError("this needs shtab: pip install 'swarm-persistence[completion]'") from None
    print(shtab.complete(parser, shell))
    return 0
