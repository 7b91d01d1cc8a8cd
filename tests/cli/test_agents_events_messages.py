"""`swarm-persistence agents`, `events` and `messages`: what the members of a swarm are, record, and tell each other."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import pytest

from swarm_persistence import (
    AgentModel,
    AgentStatus,
    BlockingStorage,
    EventModel,
    MessageModel,
    MessagePriority,
    open_storage,
)
from swarm_persistence.cli.main import main
from swarm_persistence.clock import now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "swarm.db"


@pytest.fixture
def storage(path: Path) -> Iterator[BlockingStorage]:
    """Return a storage that stays open beside the commands, as a swarm's would."""
    with open_storage(path) as opened:
        yield opened


class Runner:
    """Runs commands on one database."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._path = path
        self._capsys = capsys

    def text(self, *arguments: str) -> str:
        """Return what a command that succeeds prints."""
        command, action, *rest = arguments
        assert main([command, action, str(self._path), *rest]) == 0
        return self._capsys.readouterr().out

    def lines(self, *arguments: str) -> list[Any]:
        """Return the JSON objects that a command prints, one a line."""
        return [json.loads(line) for line in self.text(*arguments, "--json").splitlines()]


@pytest.fixture
def run(path: Path, capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(path, capsys)


class TestAgents:
    def test_agents_are_listed_with_the_age_of_their_heartbeats(self, storage: BlockingStorage, run: Runner) -> None:
        old = now() - timedelta(hours=2, minutes=10)
        storage.store_agent(AgentModel(id="a-1", name="Ada", agent_type="researcher", heartbeat=old))

        rows = [line.split() for line in run.text("agents", "list").splitlines()]

        assert ["a-1", "Ada", "researcher", "initializing", "2", "h", "ago"] in rows

    def test_status_and_type_filter_and_pages_follow_by_id(self, storage: BlockingStorage, run: Runner) -> None:
        kinds = [("1", "reader"), ("2", "writer"), ("3", "reader")]
        storage.store_many([AgentModel(id=id, name=id, agent_type=kind) for id, kind in kinds])
        storage.store_agent(AgentModel(id="4", name="4", agent_type="reader", status=AgentStatus.BUSY))

        def ids(*options: str) -> list[str]:
            return [agent["id"] for agent in run.lines("agents", "list", *options)]

        assert ids() == ["4", "3", "2", "1"]
        assert ids("--type", "reader", "--status", "initializing") == ["3", "1"]
        assert ids("--type", "reader", "--limit", "2", "--after", "4") == ["3", "1"]


def read_lines(stream: IO[str], count: int) -> list[str]:
    return [stream.readline() for _ in range(count)]


class TestEvents:
    def test_the_last_events_come_in_the_order_of_the_log(self, storage: BlockingStorage, run: Runner) -> None:
        storage.store_many([EventModel.new("step", {"n": number}) for number in range(30)])

        assert [event["data"]["n"] for event in run.lines("events", "tail")] == [*range(10, 30)]
        assert [event["sequence"] for event in run.lines("events", "tail", "--limit", "2")] == [29, 30]

    def test_an_event_is_one_line_whatever_it_holds(self, storage: BlockingStorage, run: Runner) -> None:
        event = EventModel.new("a\nb", "\x1b[2J\n", agent_id="agent-1", task_id="task-1")
        storage.store_event(event)

        (line,) = run.text("events", "tail").splitlines()

        assert line.startswith("1 ")
        assert line.endswith(' a\N{REPLACEMENT CHARACTER}b agent=agent-1 task=task-1 "\\u001b[2J\\n"')

    def test_type_and_agent_filter(self, storage: BlockingStorage, run: Runner) -> None:
        ends = [("begun", "a"), ("ended", "a"), ("begun", "b"), ("failed", "b")]
        storage.store_many([EventModel.new(kind, None, agent_id=agent) for kind, agent in ends])

        found = run.lines("events", "tail", "--type", "begun", "--type", "failed", "--agent", "b")

        assert [event["sequence"] for event in found] == [3, 4]

    def test_following_shows_events_of_other_processes_until_it_is_stopped(
        self, storage: BlockingStorage, path: Path
    ) -> None:
        storage.store_many([EventModel.new(kind, None) for kind in ("old", "step", "other", "step")])
        command = [sys.executable, "-m", "swarm_persistence", "events", "tail", str(path), "--follow", "--json"]
        options = ["--type", "step", "--limit", "1"]
        with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tail:
            try:
                assert tail.stdout is not None
                first = read_lines(tail.stdout, 1)
                storage.store_many([EventModel.new(kind, None) for kind in ("other", "step", "step")])
                rest = read_lines(tail.stdout, 2)
                tail.send_signal(signal.SIGINT)
                _, error = tail.communicate(timeout=30)
            finally:
                tail.kill()

        assert [json.loads(line)["sequence"] for line in first + rest] == [4, 6, 7]
        assert (tail.returncode, error) == (130, "swarm-persistence: stopped\n")


class TestMessages:
    def test_a_sent_message_is_stored_as_the_arguments_say(self, storage: BlockingStorage, run: Runner) -> None:
        output = run.text("messages", "send", "operator", "agent-1", "note", '{"stop": true}', "--priority", "urgent")

        (message,) = storage.get_unread_messages("agent-1")
        assert message.id == output.strip()
        assert (message.from_agent, message.message_type, message.content) == ("operator", "note", {"stop": True})
        assert message.priority is MessagePriority.URGENT

    def test_a_sent_message_is_printed_as_json(self, storage: BlockingStorage, run: Runner) -> None:
        (sent,) = run.lines("messages", "send", "a", "b", "note")

        assert (sent["from_agent"], sent["content"], sent["sequence"]) == ("a", None, 1)

    def test_messages_are_filtered_and_paged_by_their_sequence(self, storage: BlockingStorage, run: Runner) -> None:
        ends = [("a", "b"), ("a", "c"), ("a", "b"), ("b", "a"), ("a", "b")]
        messages = [MessageModel.new(sender, to, "note", None) for sender, to in ends]
        storage.store_many(messages)
        storage.mark_message_read(messages[2].id)

        def sequences(*options: str) -> list[int]:
            return [message["sequence"] for message in run.lines("messages", "list", *options)]

        assert sequences() == [5, 4, 3, 2, 1]
        assert sequences("--to", "b") == [5, 3, 1]
        assert sequences("--to", "b", "--unread") == [5, 1]
        assert sequences("--from", "b") == [4]
        assert sequences("--limit", "2", "--after", "4") == [3, 2]

    def test_the_table_tells_the_next_page(self, storage: BlockingStorage, run: Runner) -> None:
        storage.store_many([MessageModel.new("a", "b", "note", {"n": number}) for number in range(3)])

        output = run.text("messages", "list", "--limit", "2")

        assert "more: --after 2" in output
        assert '{"n": 2}' in output

    def test_a_cursor_that_is_no_sequence_is_refused(
        self, storage: BlockingStorage, path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["messages", "list", str(path), "--after", "x"]) == 2
        assert capsys.readouterr().err == "swarm-persistence: --after is 'x', expected the sequence of a message\n"
