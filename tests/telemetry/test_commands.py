"""Facts about the traces of commands: each in a process of its own, with OpenTelemetry's SDK set up as it starts."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from mcp_server.connections import call, connected
from polling import until
from swarm_persistence import TaskModel, open_storage
from telemetry.recorded import Recorded
from web.servers import server

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID, SPAN_ID = (f"0x{part}" for part in CALLER.split("-")[1:3])

# `opentelemetry-instrument` sets a provider in a module of this name, too.
SETUP = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

exporter = ConsoleSpanExporter(
    out=open({path!r}, "a", buffering=1), formatter=lambda span: span.to_json(indent=None) + "\\n"
)
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(exporter))
"""


@pytest.fixture
def spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the file to which the processes that are started from now on export their spans when they end."""
    path = tmp_path / "spans.jsonl"
    (tmp_path / "setup").mkdir()
    (tmp_path / "setup" / "sitecustomize.py").write_text(SETUP.format(path=str(path)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "setup"))
    return path


@contextmanager
def worker(directory: Path) -> Iterator[None]:
    (directory / "handling.py").write_text("async def step(task):\n    return 1\n\nhandlers = {'step': step}\n")
    arguments = ["worker", "handling:handlers", "--database", "swarm.db"]
    process = subprocess.Popen(
        [sys.executable, "-m", "swarm_persistence", *arguments], cwd=directory, stdout=subprocess.PIPE
    )
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()


def exported(path: Path, name: str) -> dict[str, Any]:
    """Return the only span of a name."""
    (span,) = [span for line in path.read_text().splitlines() if (span := json.loads(line))["name"] == name]
    return dict(span)


def parent_of(path: Path, name: str) -> tuple[str, str]:
    """Return the trace and the parent of the only span of a name."""
    span = exported(path, name)
    return span["context"]["trace_id"], span["parent_id"]


async def test_a_trace_goes_from_a_client_of_http_through_the_server_to_a_worker(tmp_path: Path, spans: Path) -> None:
    with worker(tmp_path), server(tmp_path, "swarm.db") as served:
        async with httpx.AsyncClient(base_url=f"{served.url}/api/v1", timeout=30) as client:
            headers = {"traceparent": CALLER}
            stored = await client.post("/tasks", json={"task_type": "step"}, headers=headers)
            done = (await client.get(f"/tasks/{stored.json()['id']}", params={"wait": 30})).json()

    assert done["status"] == "completed"
    assert parent_of(spans, "store step") == (TRACE_ID, SPAN_ID)
    assert parent_of(spans, "process step") == (TRACE_ID, exported(spans, "store step")["context"]["span_id"])


async def test_a_trace_goes_from_a_client_of_mcp_into_the_task_that_it_stores(tmp_path: Path, spans: Path) -> None:
    recorded = Recorded()
    async with connected(tmp_path / "swarm.db") as client:
        with recorded.tracer.start_as_current_span("caller") as caller:
            await call(client, "enqueue_task", task_type="step")

    context = caller.get_span_context()
    await until(lambda: spans.exists() and "store step" in spans.read_text())
    assert exported(spans, "store step")["context"]["trace_id"] == f"0x{context.trace_id:032x}"


def test_a_server_of_mcp_that_is_told_to_stop_exports_its_last_spans(tmp_path: Path, spans: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "swarm_persistence", "mcp", "swarm.db"],
        cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    about = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    request = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": about}
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()
    assert process.stdout.readline()

    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)

    assert exported(spans, "initialize")["context"]


def test_a_command_whose_process_has_set_up_nothing_loads_no_opentelemetry(tmp_path: Path) -> None:
    with open_storage(tmp_path / "swarm.db") as storage:
        storage.store_task(TaskModel.new("step", None))
    (tmp_path / "handling.py").write_text(
        "import os, signal, sys\n\n"
        "def step(task):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return [name for name in sys.modules if name.startswith('opentelemetry')]\n\n"
        "handlers = {'step': step}\n"
    )
    arguments = ["worker", "handling:handlers", "--database", "swarm.db"]
    subprocess.run(
        [sys.executable, "-m", "swarm_persistence", *arguments],
        cwd=tmp_path, check=True, timeout=60, capture_output=True,
    )  # fmt: skip

    with open_storage(tmp_path / "swarm.db") as storage:
        (task,) = storage.repository(TaskModel).find_all()
    assert task.result == []
