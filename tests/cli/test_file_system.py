"""Where a file lies, who may touch it, and who has it open."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from swarm_persistence.cli.file_system import examine_modes, examine_place, processes_with_open_file
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
