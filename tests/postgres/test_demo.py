"""The demo on PostgreSQL: on a server of its own, which it starts and stops."""

import subprocess
import sys

from postgres.servers import new_folder


def test_the_demo_runs_on_a_server_of_its_own_and_carries_on() -> None:
    with new_folder() as folder:
        command = [sys.executable, "-m", "swarm_persistence", "demo", "--database", "postgres", "--limit", "6"]
        runs = [
            subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
            for _ in range(2)
        ]

    assert [(run.returncode, run.stderr) for run in runs] == [(0, "")] * 2
    assert all("check: OK" in run.stdout for run in runs)
    assert "all tasks are done already" in runs[1].stdout
