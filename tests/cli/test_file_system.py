"""Where a file lies, its permissions, and the processes that have it open."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from swarm_persistence.cli.file_system import (
    examine_modes,
    examine_place,
    examine_processes,
    processes_with_open_file,
    sqlite_libraries,
)
from swarm_persistence.cli.finding import Level

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /mnt/home nfs4 rw 0 0
//server/share /mnt/my\\040share cifs rw 0 0
user@host: /mnt/far fuse.sshfs rw 0 0
tmpfs /tmp tmpfs rw 0 0
server:/x /data nfs rw 0 0
/dev/sdb1 /data ext4 rw 0 0
/dev/sdc1 /mnt/home/local xfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "level"),
    [
        ("/srv/swarm.db", Level.OK),
        ("/mnt/home/swarm.db", Level.WRONG),
        ("/mnt/my share/swarm.db", Level.WRONG),
        ("/mnt/far/deep/swarm.db", Level.WRONG),
        ("/mnt/homework/swarm.db", Level.OK),
        ("/mnt/home/local/swarm.db", Level.OK),
        ("/data/swarm.db", Level.OK),
        ("/tmp/swarm.db", Level.ADVICE),
    ],
)
def test_a_network_file_system_is_wrong_and_one_in_memory_is_told(path: str, level: Level) -> None:
    assert examine_place(Path(path), MOUNTS).level is level


def test_a_file_that_is_mounted_alone_is_wrong() -> None:
    finding = examine_place(Path("/data/swarm.db"), f"{MOUNTS}/dev/sdb1 /data/swarm.db ext4 rw 0 0\n")
    assert finding.level is Level.WRONG
    assert "its log lies outside of the volume" in finding.detail
    assert finding.remedy is not None
    assert finding.remedy.startswith("mount its directory")


def test_the_mounts_of_this_machine_are_read(tmp_path: Path) -> None:
    assert "mounted at" in examine_place(tmp_path / "swarm.db").detail or not Path("/proc").exists()


@pytest.mark.parametrize(
    ("mode", "level"), [(0o600, Level.OK), (0o640, Level.ADVICE), (0o604, Level.ADVICE), (0o620, Level.WRONG)]
)
def test_what_others_may_do_is_told(tmp_path: Path, mode: int, level: Level) -> None:
    path = tmp_path / "swarm.db"
    path.touch()
    path.chmod(mode)
    assert examine_modes(path).level is level


def test_the_log_is_looked_at_too(tmp_path: Path) -> None:
    for name, mode in (("swarm.db", 0o600), ("swarm.db-wal", 0o644)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    finding = examine_modes(tmp_path / "swarm.db")
    assert finding.level is Level.ADVICE
    assert "swarm.db-wal 0644" in finding.detail


def test_processes_that_have_a_file_open_are_named(tmp_path: Path) -> None:
    path = tmp_path / "swarm.db"
    path.touch()
    program = "import sys; file = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process, path.open():
        assert process.stdout is not None
        process.stdout.readline()
        (found,) = processes_with_open_file(path)
        process.communicate()
    assert found.startswith(f"{process.pid} (")
    assert str(os.getpid()) not in found


def test_a_log_that_was_deleted_under_a_process_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "swarm.db"
    program = """
import sys
from swarm_persistence import TaskModel, open_storage
with open_storage(sys.argv[1]) as storage:
    storage.store_task(TaskModel.new("kept", {}))
    print("open", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (before,) = examine_processes(path)
        (tmp_path / "swarm.db-wal").unlink()
        (finding,) = examine_processes(path)
        process.communicate()
    assert (before.level, finding.level) == (Level.OK, Level.WRONG)
    assert f"{process.pid} (" in before.detail
    assert "their log was deleted" in finding.detail


def test_several_sqlite_libraries_in_one_process_are_told_apart() -> None:
    maps = """\
7f00-7f01 r-xp 00000000 08:01 1  /venv/lib/python3.12/site-packages/apsw/__init__.cpython-312-x86_64-linux-gnu.so
7f01-7f02 r--p 00000000 08:01 1  /venv/lib/python3.12/site-packages/apsw/__init__.cpython-312-x86_64-linux-gnu.so
7f02-7f03 r-xp 00000000 08:01 2  /usr/lib/x86_64-linux-gnu/libsqlite3.so.0.8.6
7f03-7f04 r-xp 00000000 08:01 3  /usr/lib/python3.12/lib-dynload/_sqlite3.cpython-312-x86_64-linux-gnu.so
7f04-7f05 rw-s 00000000 08:01 4  /data/swarm.db-shm
"""
    assert sqlite_libraries(maps) == {"apsw/__init__.cpython-312-x86_64-linux-gnu.so", "libsqlite3.so.0.8.6"}
