"""What is shown in a terminal, and where there is none."""

import io
import re
import sys

import pytest
from rich.console import Console

from swarm_persistence import AgentModel
from swarm_persistence.cli.records import show_all
from swarm_persistence.cli.terminal import meter, print_line


def test_without_terminal_progress_is_a_line_at_every_quarter() -> None:
    console = Console(file=(output := io.StringIO()), width=80)
    with meter(console, "work", 100) as show:
        for done in range(101):
            show(done)
            show(done)
    assert output.getvalue() == "work: 25 of 100\nwork: 50 of 100\nwork: 75 of 100\nwork: 100 of 100\n"


def test_without_terminal_a_leap_is_one_line() -> None:
    console = Console(file=(output := io.StringIO()), width=80)
    with meter(console, "work", 3) as show:
        show(0)
        show(3)
    assert output.getvalue() == "work: 3 of 3\n"


def test_in_a_terminal_progress_is_a_bar() -> None:
    console = Console(file=(output := io.StringIO()), width=80, force_terminal=True)
    with meter(console, "work", 3) as show:
        show(3)
    assert "━" in output.getvalue()
    assert "3/3" in output.getvalue()


def test_a_line_is_printed_as_it_is_however_long() -> None:
    console = Console(file=(output := io.StringIO()), width=20)
    line = "[bold]a path [/tmp]" + " and more" * 10
    print_line(console, line)
    assert output.getvalue() == line + "\n"


AGENT = AgentModel.new("the agent that reads the long reports of every department", "reader", ["a", "b"])
COLUMNS = {
    "id": lambda agent: agent.id,
    "name": lambda agent: agent.name,
    "status": lambda agent: agent.status.value,
    "capabilities": lambda agent: ", ".join(agent.capabilities),
}


def test_without_terminal_a_row_of_a_list_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_all([AGENT], "Agents", COLUMNS)

    (row,) = (line for line in capsys.readouterr().out.splitlines() if AGENT.id in line)
    assert row.split() == [AGENT.id, *AGENT.name.split(), "initializing", "a,", "b"]


@pytest.mark.parametrize("width", [70, 100, 150])
def test_a_terminal_breaks_long_texts_only(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))

    show_all([AGENT], "Agents", COLUMNS)

    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    (head,) = (line for line in lines if "status" in line)
    assert head.split() == list(COLUMNS)
    (row,) = (line for line in lines if AGENT.id in line)
    assert "initializing" in row
    assert (AGENT.name in row) == (width == 150)
    assert set(AGENT.name.split()) <= set(" ".join(lines).split())
