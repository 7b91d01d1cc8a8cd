"""Notes on a simulated disk what the package itself asks of the system, beside SQLite: names, and what is synced."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from torture.disk import Disk


@contextmanager
def system_calls_noted(disk: Disk) -> Iterator[None]:
    """Tell the disk of the calls within the block that change it."""
    real_open, real_unlink, real_replace = os.open, os.unlink, os.replace
    real_link, real_fsync, real_mknod = os.link, os.fsync, os.mknod

    def opened(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if not flags & os.O_CREAT or not disk.holds(os.fspath(path)):
            return real_open(path, flags, *arguments, **named)
        with disk.change():
            descriptor = real_open(path, flags, *arguments, **named)
            disk.created(os.fspath(path))
            return descriptor

    def made(path: Any, *arguments: Any) -> None:
        if not disk.holds(os.fspath(path)):
            real_mknod(path, *arguments)
            return
        with disk.change():
            real_mknod(path, *arguments)
            disk.created(os.fspath(path))

    def unlinked(path: Any) -> None:
        if not disk.holds(os.fspath(path)):
            real_unlink(path)
            return
        with disk.change():
            real_unlink(path)
            disk.deleted(os.fspath(path))

    def linked(source: Any, target: Any) -> None:
        with disk.change():
            real_link(source, target)
            disk.linked(os.fspath(source), os.fspath(target))

    def moved(source: Any, target: Any) -> None:
        if not disk.holds(os.fspath(source)):
            real_replace(source, target)
            return
        with disk.change():
            real_replace(source, target)
            disk.linked(os.fspath(source), os.fspath(target))
            disk.deleted(os.fspath(source))

    def synced(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if path == disk.directory:
            with disk.change():
                disk.synced_directory()
        elif disk.holds(path):
            with disk.change():
                disk.synced(path, with_directory=False)
        else:
            real_fsync(descriptor)

    replacements = {"open": opened, "mknod": made, "unlink": unlinked, "link": linked, "fsync": synced}
    with ExitStack() as stack:
        for name, call in {**replacements, "rename": moved, "replace": moved}.items():
            stack.enter_context(patch.object(os, name, call))
        yield
