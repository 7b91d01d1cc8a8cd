"""Files of the Rust crate: one that it has written itself, and variants with rows that are written as it writes them.

`written_by_rust.sqlite3` was written by the published crate 1.0.5. The variants have its schema
(`sqlite/rust_crate.py`).
"""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import apsw

from sqlite import rust_crate

WRITTEN_BY_RUST = Path(__file__).with_name("written_by_rust.sqlite3")
TIME = "2026-11-28T16:15:37.063203646Z"
SECONDS = 1_795_882_537
"""The same moment as the crate's columns have it."""


class RustFile:
    """A file with the schema of the crate, to which rows are added."""

    def __init__(self, path: Path, *, has_plain_statuses: bool = False) -> None:
        rust_crate.open_storage(path)
        self.path = path
        self.connection = apsw.Connection(str(path))
        self._quote = "" if has_plain_statuses else '"'

    def add_agent(self, id: str = "a", **fields: Any) -> None:
        """Store an agent as the crate does."""
        times = {"heartbeat": TIME, "created_at": TIME, "updated_at": TIME}
        agent = {"id": id, "name": "n", "agent_type": "t", "status": "idle", "capabilities": [], "metadata": {}}
        agent |= times | fields
        self._insert(
            "agents",
            id=id, name=agent["name"], agent_type="t", status=agent["status"], capabilities="[]", metadata="{}",
            heartbeat=SECONDS, created_at=SECONDS, updated_at=SECONDS, data=json.dumps(agent),
        )  # fmt: skip

    def add_task(self, id: str, **fields: Any) -> None:
        """Store a task as the crate does."""
        task: dict[str, Any] = {
            "id": id, "task_type": "t", "priority": "high", "status": "pending", "assigned_to": None, "payload": {},
            "result": None, "error": None, "retry_count": 0, "max_retries": 3, "dependencies": [], "created_at": TIME,
            "updated_at": TIME, "started_at": None, "completed_at": None, **fields,
        }  # fmt: skip
        self._insert(
            "tasks",
            id=id, task_type="t", priority=2, status=f"{self._quote}{task['status']}{self._quote}",
            assigned_to=task["assigned_to"], payload="{}", created_at=SECONDS, updated_at=SECONDS,
            data=json.dumps(task),
        )  # fmt: skip

    def add_event(self, id: str, **fields: Any) -> None:
        """Store an event as the crate does."""
        event = {
            "id": id, "event_type": "e", "agent_id": None, "task_id": None, "payload": None, "metadata": {},
            "timestamp": TIME, "sequence": 0, **fields,
        }  # fmt: skip
        self._insert(
            "events",
            id=id, event_type="e", payload="null", metadata="{}", timestamp=SECONDS, sequence=event["sequence"],
            data=json.dumps(event),
        )  # fmt: skip

    def add_message(self, id: str, **fields: Any) -> None:
        """Store a message as the crate does, between agents that exist."""
        message = {
            "id": id, "from_agent": "a", "to_agent": "a", "message_type": "m", "content": 1, "priority": "urgent",
            "read": False, "created_at": TIME, "read_at": None, **fields,
        }  # fmt: skip
        self._insert(
            "messages",
            id=id, from_agent="a", to_agent="a", message_type="m", content="1", priority='"urgent"',
            read=int(message["read"]), created_at=SECONDS, read_at=SECONDS if message["read_at"] else None,
            data=json.dumps(message),
        )  # fmt: skip

    def add_metric(self, id: str, **fields: Any) -> None:
        """Store a metric as the crate does."""
        metric: dict[str, Any] = {
            "id": id,
            "metric_type": "cpu",
            "agent_id": None,
            "value": 0.5,
            "unit": "%",
            "tags": {},
        }
        metric |= {"timestamp": TIME, **fields}
        self._insert(
            "metrics", id=id, metric_type="cpu", value=0.5, unit="%", tags="{}", timestamp=SECONDS,
            data=json.dumps(metric),
        )  # fmt: skip

    def claim(self, task_id: str, agent_id: str, at: int) -> None:
        """Claim a task as release 1.0.7 does, which writes columns only."""
        self.run(
            "UPDATE tasks SET assigned_to = ?, status = 'assigned', updated_at = ? WHERE id = ?",
            agent_id, at, task_id,
        )  # fmt: skip

    def run(self, statement: str, *values: Any) -> None:
        """Run a statement."""
        self.connection.execute(statement, values).fetchall()

    def close(self) -> Path:
        """Close the file, and return its path."""
        self.connection.close()
        return self.path

    def _insert(self, table: str, **columns: Any) -> None:
        marks = ", ".join("?" * len(columns))
        self.run(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", *columns.values())


def state_of(directory: Path) -> dict[str, tuple[str, int]]:
    """Return the sum and the time of change of every file in a directory."""
    return {path.name: (sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in directory.iterdir()}
