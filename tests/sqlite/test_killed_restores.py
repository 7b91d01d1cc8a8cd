"""Facts about a restore that is killed at any of its changes to the disk."""

from pathlib import Path

import pytest

from sqlite.programs import Program
from sqlite.restored_files import WRITE_AND_DIE, ids_in, make

# Forks for every change that a restore makes to the disk, and kills the child just before that change.
KILL_AT_EVERY_CHANGE = """
    import os, shutil, signal, sys, threading

    tests, backup, before, directory = sys.argv[1:]
    sys.path.insert(0, tests)
    from sqlite.faulty_disk import faulty_disk
    from swarm_persistence.engines.sql.sqlite.backup import restore_pages

    changes = ("xWrite", "xSync", "xTruncate", "xOpen", "os.rename", "os.link", "os.remove")

    def run(target, last):
        count = 0

        def meet(name, _path=None):
            nonlocal count
            if name in changes:
                count += 1
                if count == last:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(lambda event, _: meet(event))
        with faulty_disk() as disk:
            disk.fault = meet
            for _ in restore_pages(backup, target, threading.Event(), is_overwriting=True, vfs=disk.name):
                pass

    number = 0
    while True:
        number += 1
        target = f"{directory}/{number}/swarm.db"
        shutil.copytree(before, os.path.dirname(target))
        child = os.fork()
        if not child:
            try:
                run(target, number)
                os._exit(0)
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if status == 0:
            break
        assert os.WIFSIGNALED(status), status
    print(number)
"""


class TestKills:
    @pytest.mark.parametrize("target", ["a sound one", "one with a log", "none", "a damaged one"])
    async def test_a_restore_killed_at_any_change_leaves_the_old_content_or_the_new(
        self, tmp_path: Path, backup: Path, target: str
    ) -> None:
        before, trials = tmp_path / "before", tmp_path / "trials"
        before.mkdir()
        trials.mkdir()
        path = before / "swarm.db"
        old: list[list[str]] = []
        if target != "none":
            await make(path, ["mine"])
            old = [["mine"]]
        if target == "one with a log":
            program = Program(WRITE_AND_DIE, path)
            assert program.wait_for_line() == "ready"
            program.kill()
            old = [["mine", "in the log"]]
        if target == "a damaged one":
            path.write_bytes(b"damaged" * 1000)
            path.with_name("swarm.db-wal").write_bytes(b"damaged too" * 1000)
            old = []

        program = Program(KILL_AT_EVERY_CHANGE, Path(__file__).parents[1], backup, before, trials)
        (number,) = program.finish()

        assert int(number) > 10
        found: list[list[str]] = []
        for trial in sorted(trials.iterdir(), key=lambda trial: int(trial.name)):
            file = trial / "swarm.db"
            if target == "none" and not file.exists():
                assert not [*trial.glob("swarm.db-*")]
                found.append([])
            elif target == "a damaged one" and file.read_bytes().startswith(b"damaged"):
                found.append([])
            else:
                found.append(await ids_in(file))
        first = next(place for place, ids in enumerate(found) if ids == ["a", "b", "c"])
        assert all(ids in (old or [[]]) for ids in found[:first])
        assert first > 5
        assert found[first:] == [["a", "b", "c"]] * (len(found) - first)
