"""What is shown in a terminal, and where there is none."""

import io

from rich.console import Console

from swarm_persistence.cli.terminal import meter, say


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
    say(console, line)
    assert output.getvalue() == line + "\n"
