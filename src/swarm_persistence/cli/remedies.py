"""The commands that `doctor` recommends for a file, quoted for a shell."""

import shlex
from pathlib import Path


def command(verb: str, path: Path, *more: str) -> str:
    """Return a `swarm-persistence` command for a file, in backquotes."""
    return f"`{shlex.join(('swarm-persistence', verb, str(path), *more))}`"


def recover(path: Path, *options: str) -> str:
    """Return the command that recovers a damaged file into a new file beside it."""
    return command("recover", path, str(_beside(path, "recovered")), *options)


def backup(path: Path) -> str:
    """Return the command that writes a backup beside the file."""
    return command("backup", path, str(_beside(path, "backup")))


def restore(path: Path) -> str:
    """Return the remedy for a damaged file."""
    return (
        f"restore a backup; without one, {recover(path)} takes all that can be read into a new file and lists what is "
        "lost"
    )


def _beside(path: Path, word: str) -> Path:
    return path.with_name(f"{path.stem}.{word}{path.suffix}")
