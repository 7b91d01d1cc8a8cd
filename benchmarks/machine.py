"""Describes where a run took place: the machine, its disk, and the versions of what was measured."""

import os
import platform
import sqlite3
import statistics
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import apsw
import msgspec

_PACKAGES = (
    "swarm-persistence",
    "apsw",
    "msgspec",
    "aiosqlite",
    "SQLAlchemy",
    "persist-queue",
    "huey",
    "diskcache",
)
_SYNCED_BYTES = 4096
_SYNCS = 200


class Machine(msgspec.Struct, frozen=True):
    """What the figures depend on."""

    cpu: str
    cores: int
    memory_gibibytes: float
    system: str
    filesystem: str
    fsync_microseconds: float
    """The median time of a write of 4 KiB and its fsync."""
    load: float
    """The load average of the minute before the run: near 0 on a quiet machine."""
    versions: dict[str, str]

    def lines(self) -> tuple[str, str]:
        """Return two lines of plain text: the machine, and the versions."""
        return (
            f"{self.cpu}, {self.cores} cores, fsync {self.fsync_microseconds:.0f} µs, load {self.load}",
            ", ".join(f"{name} {number}" for name, number in self.versions.items()),
        )


def describe_machine(directory: Path, packages: Sequence[str] = _PACKAGES, **others: str) -> Machine:
    """Look at the machine, and measure the disk under this directory; `others` are versions of other software."""
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gibibytes=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        filesystem=_filesystem(directory),
        fsync_microseconds=round(_fsync_microseconds(directory), 1),
        load=round(os.getloadavg()[0], 2),
        versions={
            "Python": platform.python_version(),
            **{package: version(package) for package in packages},
            **others,
        },
    )


def sqlite_versions() -> dict[str, str]:
    """Return the versions of SQLite that the drivers bring."""
    return {"SQLite of apsw": apsw.sqlite_lib_version(), "SQLite of sqlite3": sqlite3.sqlite_version}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _filesystem(directory: Path) -> str:
    try:
        lines = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return "unknown"
    place = str(directory.resolve())
    mounts = [line.split()[1:3] for line in lines]
    under = [(mount, kind) for mount, kind in mounts if place == mount or place.startswith(mount.rstrip("/") + "/")]
    return max(under, key=lambda found: len(found[0]))[1] if under else "unknown"


def _fsync_microseconds(directory: Path) -> float:
    path = directory / "fsync"
    block = os.urandom(_SYNCED_BYTES)
    times = []
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        for _ in range(_SYNCS):
            started = time.perf_counter()
            os.write(descriptor, block)
            os.fsync(descriptor)
            times.append(time.perf_counter() - started)
    finally:
        os.close(descriptor)
        path.unlink()
    return statistics.median(times) * 1e6
