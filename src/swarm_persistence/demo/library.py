"""Finds the modules of the standard library of this Python."""

import os
import sysconfig
from pathlib import Path

import msgspec

TOP_LEVEL = "(top level)"
"""The group of modules that are in no package."""

_NOT_THE_LIBRARY = frozenset({"site-packages", "dist-packages", "__pycache__"})


class Module(msgspec.Struct, frozen=True):
    """One file of the library, with the size and time that identify its state."""

    name: str
    package: str
    path: str
    size: int
    modified_ns: int


def library_path() -> str:
    """Return the directory of this interpreter's standard library."""
    return sysconfig.get_paths()["stdlib"]


def find_modules(root: str, limit: int | None = None) -> list[Module]:
    """Return the modules below the directory, ordered by name, at most `limit`."""
    modules = sorted((_module(root, path) for path in _python_files(root)), key=lambda module: module.name)
    return modules[:limit]


def _python_files(root: str) -> list[str]:
    found = []
    for directory, subdirectories, files in os.walk(root):
        subdirectories[:] = [name for name in subdirectories if name not in _NOT_THE_LIBRARY]
        paths = (os.path.join(directory, name) for name in files if name.endswith(".py"))
        found += [path for path in paths if os.path.isfile(path)]  # a link may lead nowhere
    return found


def _module(root: str, path: str) -> Module:
    parts = Path(path).relative_to(root).with_suffix("").parts
    package = parts[0] if len(parts) > 1 else TOP_LEVEL
    name = ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)
    state = os.stat(path)
    return Module(name, package, path, state.st_size, state.st_mtime_ns)
