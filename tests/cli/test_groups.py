"""Groups and tags at the command line: lists of a group, and `erase`."""

import json
from pathlib import Path

import pytest

from cli.commands import run_command
from swarm_persistence import TaskModel, open_storage
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


def test_a_task_is_added_to_a_group(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--group", "y", "--key", "k", "--key-policy", "while_active", "--json"]
    assert main(["tasks", "add", path, "sum", *arguments]) == 0

    task = TaskModel.from_json(capsys.readouterr().out)
    assert (task.group, task.key_policy.value) == ("y", "while_active")


def test_a_tag_without_a_value_is_refused(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["tasks", "list", path, "--tag", "run"])

    assert "'run' is no tag, expected KEY=VALUE" in capsys.readouterr().err


def test_erase_deletes_a_group_and_tells_how_much(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["erase", path, "--group", "x", "--collection", "users/x", "--yes", "--json"]) == 0
    counts = {"tasks": 2, "agents": 2, "events": 2, "messages": 2, "metrics": 0, "documents": 1, "schedules": 0}
    assert json.loads(capsys.readouterr().out) == counts

    assert main(["erase", path, "--group", "x", "--yes"]) == 0
    assert capsys.readouterr().out.startswith("deleted: 0 tasks, 0 agents")


def test_erase_without_a_terminal_to_ask_at_deletes_nothing(path: str) -> None:
    refused = run_command("erase", path, "--group", "x", stdin="y\n")

    assert refused.returncode == 2
    assert "say --yes" in refused.stderr
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
