"""The demo on PostgreSQL: on a server that runs already, and on one of its own, which it starts and stops."""

import subprocess
import sys

from postgres.servers import PASSWORD, Server, new_folder


def test_the_demo_runs_on_a_server_and_never_shows_its_password(server: Server, schema: str) -> None:
    url = server.url(schema=schema)
    command = [sys.executable, "-m", "swarm_persistence", "demo", "--database", url, "--limit", "6"]

    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert (run.returncode, run.stderr) == (0, "")
    assert "check: OK" in run.stdout
    assert f"database: postgresql://swarm:***@127.0.0.1:{server.port}/postgres?schema={schema}" in run.stdout
    assert PASSWORD not in run.stdout


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
