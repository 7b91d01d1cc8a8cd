"""Examines the file system of a database's file, its permissions, and the processes that have it open."""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from shlex import join, quote

import msgspec

from swarm_persistence.cli.finding import Finding, advice, ok, wrong
from swarm_persistence.cli.remedies import backup

SUFFIXES = ("", "-wal", "-shm")

_MOUNTS = Path("/proc/self/mounts")
_NETWORK = re.compile(r"9p|afs|beegfs|ceph|cifs|coda|glusterfs|gpfs|lustre|ncpfs|nfs4?|smb[23]|smbfs")
_NETWORK_BY_FUSE = re.compile(r"fuse\.(ceph|gcsfuse|glusterfs|rclone|s3fs|sshfs)")
# Python's `_sqlite3` module has no SQLite of its own on most systems: it loads the system's.
_SQLITE_LIBRARY = re.compile(
    r"/(apsw/[^/\s]*\.so|libsqlite3[^/\s]*|_pysqlite3[^/\s]*|libsqlcipher[^/\s]*)$", re.MULTILINE
)
_IN_MEMORY = frozenset({"ramfs", "tmpfs"})


class Mount(msgspec.Struct, frozen=True):
    """A mounted file system."""

    directory: str
    kind: str


def examine_place(path: Path, mounts: str | None = None) -> Finding:
    """Return the findings on the file system; `mounts` is the text of /proc/mounts, by default this machine's."""
    check = "file system"
    if mounts is None:
        if not _MOUNTS.exists():
            return ok(check, "not checked: this system does not list its mounts in /proc")
        mounts = _MOUNTS.read_text(errors="surrogateescape")
    mount = _mount_of(path.resolve(), _parse(mounts))
    if mount is None:
        return ok(check, "not checked: no mount holds this path")
    where = f"{mount.kind}, mounted at {mount.directory}"
    if Path(mount.directory) == path.resolve():
        remedy = "mount its directory: the log beside the file belongs to the database, and is lost with the container"
        return wrong(check, f"{where}: the file alone is mounted, and its log lies outside of the volume", remedy)
    if _NETWORK.fullmatch(mount.kind) or _NETWORK_BY_FUSE.fullmatch(mount.kind):
        remedy = "move the file to a disk of this machine; several machines need a server, not a shared file"
        return wrong(check, f"{where}: a network file system, on which WAL and its locks do not work", remedy)
    if mount.kind in _IN_MEMORY:
        return advice(check, f"{where}: it is lost when the machine restarts", "move the file to a disk, if it matters")
    return ok(check, where)


def examine_names(path: Path) -> Iterator[Finding]:
    """Yield the findings on links to the file: its log is beside the name by which it was opened."""
    check = "names"
    if path.is_symlink() or path.resolve() != path.absolute():
        yield ok(check, f"leads to {path.resolve()}; the log lies beside that")
    links = path.stat().st_nlink
    if links > 1:
        remedy = f"make real copies ({backup(path)}) instead of links; `find / -samefile {quote(str(path))}` lists them"
        yield advice(check, f"the file has {links} names (hard links), and each would have a log of its own", remedy)


def examine_processes(path: Path) -> Iterator[Finding]:
    """Yield the other processes that have the file open, and those that may drop each other's locks."""
    check = "processes"
    processes = _processes_with_open_file(path)
    shown = ", ".join(map(_shown, processes)) or "no other one that this user may see"
    log = path.with_name(f"{path.name}-wal")
    if processes and path.with_name(f"{path.name}-shm").exists() and not log.exists():
        remedy = "back up what they read, as long as they run; then end them. Never delete a log"
        yield wrong(check, f"{shown}: their log was deleted, and what they write is lost when they end", remedy)
        return
    yield ok(check, f"open by: {shown}")
    for process in processes:
        libraries = _sqlite_libraries(process)
        if len(libraries) > 1:
            names = ", ".join(sorted(libraries))
            remedy = (
                "let nothing but swarm-persistence open this file in that process: see sqlite.org/howtocorrupt.html"
            )
            detail = f"{_shown(process)} has loaded several SQLite libraries ({names}), which drop each other's locks"
            yield advice(check, detail, remedy)


def examine_modes(path: Path) -> Finding:
    """Return the finding on the permissions of the files."""
    check = "permissions"
    modes = {each: stat.S_IMODE(each.stat().st_mode) for each in _files(path)}
    shown = ", ".join(f"{each.name} {mode:04o}" for each, mode in modes.items())
    if os.name != "posix":
        return ok(check, "not checked: this system has no POSIX modes")
    remedy = join(("chmod", "600", *map(str, modes)))
    if not os.access(path, os.W_OK):
        return wrong(check, f"{shown}: this user cannot write to it", f"as its owner: {remedy}")
    if any(mode & 0o022 for mode in modes.values()):
        return wrong(check, f"{shown}: others can write to it", remedy)
    if any(mode & 0o044 for mode in modes.values()):
        return advice(check, f"{shown}: others can read all that the swarm knows", remedy)
    return ok(check, shown)


def processes_with_open_file(path: Path) -> list[str]:
    """Return the other processes that have the file open and are visible to this user: `1234 (python3)`."""
    return [_shown(process) for process in _processes_with_open_file(path)]


def sqlite_libraries(maps: str) -> set[str]:
    """Return the libraries in the text of a /proc/…/maps that contain an SQLite."""
    return {match.group(1) for match in _SQLITE_LIBRARY.finditer(maps)}


def name_of(process: int) -> str:
    """Return the name of a process's program."""
    try:
        return Path(f"/proc/{process}/comm").read_text(errors="replace").strip()
    except OSError:
        return "ended"


def _files(path: Path) -> Iterable[Path]:
    return (each for each in (path.with_name(path.name + suffix) for suffix in SUFFIXES) if each.exists())


def _parse(mounts: str) -> list[Mount]:
    fields = (line.split(" ") for line in mounts.splitlines())
    return [Mount(_unescaped(parts[1]), parts[2]) for parts in fields if len(parts) > 2]


def _unescaped(directory: str) -> str:
    # The kernel writes a blank as \040, and so on.
    for code in ("040", "011", "012", "134"):
        directory = directory.replace(f"\\{code}", chr(int(code, 8)))
    return directory


def _mount_of(path: Path, mounts: list[Mount]) -> Mount | None:
    holding = [mount for mount in mounts if path.is_relative_to(mount.directory)]
    # Of two mounts on one directory, the later one is on top.
    return max(reversed(holding), key=lambda mount: len(Path(mount.directory).parts), default=None)


def _processes_with_open_file(path: Path) -> list[int]:
    wanted = path.stat()
    others = (each for each in Path("/proc").glob("[0-9]*") if int(each.name) != os.getpid())
    return sorted(int(each.name) for each in others if _has_open(each, wanted))


def _shown(process: int) -> str:
    return f"{process} ({name_of(process)})"


def _sqlite_libraries(process: int) -> set[str]:
    """Return the loaded libraries of a process that contain an SQLite."""
    try:
        return sqlite_libraries(Path(f"/proc/{process}/maps").read_text(errors="replace"))
    except OSError:
        return set()  # it has ended, or belongs to another user


def _has_open(process: Path, wanted: os.stat_result) -> bool:
    try:
        descriptors = os.listdir(process / "fd")
    except OSError:
        return False  # it has ended, or belongs to another user
    return any(_is_same(process / "fd" / descriptor, wanted) for descriptor in descriptors)


def _is_same(link: Path, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(link.stat(), wanted)
    except OSError:
        return False  # closed meanwhile
