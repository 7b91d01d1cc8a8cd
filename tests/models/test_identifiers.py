"""Ids in forked processes."""

import subprocess
import sys

_PROGRAM = """
import os
from swarm_persistence.clock import ManualClock, use_clock
from swarm_persistence.models.identifiers import new_id

with use_clock(ManualClock()):
    ids = [new_id()]
    child = os.fork()
    ids += [new_id() for _ in range(300)]
    if child:
        os.waitpid(child, 0)
    print(*ids, flush=True)
"""


def test_a_forked_child_makes_other_ids_than_its_parent() -> None:
    run = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    ids = run.stdout.split()

    assert len(ids) == 2 * 301
    assert len(set(ids)) == 2 * 301 - 1  # the one that was made before the fork is printed twice
