"""A test run that is killed leaves neither its servers nor their folders behind."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from polling import block_until

PROGRAM = """
import sys
from postgres.servers import embedded_programs, new_server
with new_server(embedded_programs()) as server:
    if sys.argv[1] == "paused":
        server.pause()
    print(server.port, server.folder, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("state", ["running", "paused"])
def test_the_server_of_a_killed_run_stops_and_its_folder_is_removed(state: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, state],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0,
    ) as run:  # fmt: skip
        assert run.stdout is not None
        port, folder = run.stdout.readline().rstrip().split(" ", 1)
        address = ("127.0.0.1", int(port))
        socket.create_connection(address).close()

        os.killpg(run.pid, signal.SIGKILL)

    block_until(lambda: not Path(folder).exists())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
