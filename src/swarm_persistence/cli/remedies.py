"""The commands that `doctor` advises for a file, as a shell takes them."""

import shlex
from pathlib import Path


def command(verb: str, path: Path, *more: str) -> str:
    """Return one of our commands for a file, in backquotes."""
    return f"`{shlex.join(('swarm-persistence', verb, str(path), *more))}`"


def recover(path: Path, *options: str) -> str:
    """Return the command that takes what can be read into a new file beside the damaged one."""
    return command("recover", path, str(_beside(path, "recovered")), *options)


def backup(path: Path) -> str:
    """Return the command that makes a backup beside the file."""
    return command("backup", path, str(_beside(path, "backup")))


def restore(path: Path) -> str:
    """Return what to do about a damaged file."""
    return (
        f"restore a backup; without one, {recover(path)} takes all that can be read into a new file and lists what is "
        "lost"
    )


def _beside(path: Path, word: str) -> Path:
    return path.with_name(f"{path.stem}.{word}{path.suffix}")
