"""Groups and tags at the command line: lists of a group, and `erase`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli.commands import run_command
from swarm_persistence import MessageModel, TaskModel, open_storage
from swarm_persistence.cli.main import main
from swarm_persistence_conformance.records import a_document, a_message, a_task, an_agent, an_event


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = tmp_path / "swarm.db"
    with open_storage(path) as storage:
        for name, group, run in (("a", "x", "1"), ("b", "x", "2"), ("c", None, "1")):
            fields = {"group": group, "tags": {"run": run}}
            makers = (an_agent, a_task, an_event, a_message)
            storage.store_many([make(name, **fields) for make in makers])
        storage.put_documents([a_document("k", collection=("users", "x"))])
    return str(path)


@pytest.mark.parametrize("noun", ["tasks", "agents", "messages"])
def test_a_list_may_be_of_a_group_and_of_tags(path: str, noun: str, capsys: pytest.CaptureFixture[str]) -> None:
    def listed(*arguments: str) -> list[str]:
        assert main([noun, "list", path, "--json", *arguments]) == 0
        return sorted(json.loads(line)["id"] for line in capsys.readouterr().out.splitlines())

    assert listed("--group", "x") == ["a", "b"]
    assert listed("--tag", "run=1") == ["a", "c"]
    assert listed("--tag", "run=1", "--group", "x") == ["a"]
    assert listed("--group", "") == []


def test_the_tail_of_events_may_be_of_a_group_and_of_tags(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    def tail(*arguments: str) -> list[str]:
        assert main(["events", "tail", path, "--json", *arguments]) == 0
        return [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()]

    assert tail("--group", "x") == ["a", "b"]
    assert tail("--tag", "run=1") == ["a", "c"]
    assert tail("--tag", "run=1", "--group", "x", "--limit", "1") == ["a"]


def test_following_shows_new_events_of_the_group_and_tags_only(path: str) -> None:
    command = [sys.executable, "-m", "swarm_persistence", "events", "tail", path, "--follow", "--json"]
    options = ["--group", "x", "--tag", "run=2"]
    with (
        subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process,
        open_storage(path) as storage,
    ):
        try:
            assert process.stdout is not None
            shown = [json.loads(process.stdout.readline())["id"]]
            for name, group, run in (("d", "y", "2"), ("e", "x", "3"), ("f", "x", "2")):
                storage.store_event(an_event(name, group=group, tags={"run": run, "more": "1"}))
            shown.append(json.loads(process.stdout.readline())["id"])
        finally:
            process.kill()

    assert shown == ["b", "f"]


def test_a_message_is_sent_with_a_group_and_tags(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["messages", "send", path, "a", "b", "note", "--group", "y", "--tag", "run=9", "--json"]) == 0

    message = MessageModel.from_json(capsys.readouterr().out)
    assert (message.group, message.tags) == ("y", {"run": "9"})


def test_a_task_is_added_with_all_that_is_given(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--tag", "run=1", "--tag", "step=2", "--concurrency-key", "c", "--requires", "gpu", "--keep-waiting"]
    assert main(["tasks", "add", path, "sum", *arguments, "--json"]) == 0

    task = TaskModel.from_json(capsys.readouterr().out)
    assert (task.tags, task.concurrency_key) == ({"run": "1", "step": "2"}, "c")
    assert (task.required_capabilities, task.fails_with_dependencies) == (("gpu",), False)


def test_a_task_is_added_to_a_group(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--group", "y", "--key", "k", "--key-policy", "while_active", "--json"]
    assert main(["tasks", "add", path, "sum", *arguments]) == 0

    task = TaskModel.from_json(capsys.readouterr().out)
    assert (task.group, task.key_policy.value) == ("y", "while_active")


def test_a_tag_without_a_value_is_refused(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["tasks", "list", path, "--tag", "run"])

    assert "'run' is not a tag, expected KEY=VALUE" in capsys.readouterr().err


def test_erase_deletes_a_group_and_tells_how_much(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["erase", path, "--group", "x", "--collection", "users/x", "--yes", "--json"]) == 0
    counts = {"tasks": 2, "agents": 2, "events": 2, "messages": 2, "metrics": 0, "documents": 1, "schedules": 0}
    assert json.loads(capsys.readouterr().out) == counts

    assert main(["erase", path, "--group", "x", "--yes"]) == 0
    assert capsys.readouterr().out.startswith("deleted: 0 tasks, 0 agents")


def test_a_dry_run_of_erase_tells_how_much_and_deletes_nothing(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["erase", path, "--group", "x", "--collection", "users/x"]
    assert main([*command, "--dry-run"]) == 0
    told = "2 tasks, 2 agents, 2 events, 2 messages, 0 metrics, 1 documents, 0 schedules"
    assert capsys.readouterr().out == f"to delete: {told}\n"

    assert main([*command, "--yes"]) == 0
    assert capsys.readouterr().out == f"deleted: {told}\n"


def test_erase_without_a_terminal_to_ask_at_deletes_nothing(path: str) -> None:
    refused = run_command("erase", path, "--group", "x", stdin="y\n")

    assert refused.returncode == 2
    assert "pass --yes" in refused.stderr
    with open_storage(path) as storage:
        assert len(storage.list_agents()) == 3


@pytest.mark.parametrize(("answer", "left"), [("", 3), ("n", 3), ("y", 1), ("YES", 1)])
def test_erase_asks_before_it_deletes(
    path: str, answer: str, left: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: answer)

    assert main(["erase", path, "--group", "x"]) == (0 if left == 1 else 1)

    assert "2 tasks, 2 agents, 2 events, 2 messages, 0 metrics" in capsys.readouterr().err
    with open_storage(path) as storage:
        assert len(storage.list_agents()) == left
