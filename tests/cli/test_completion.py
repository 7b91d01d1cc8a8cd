"""`swarm-persistence completion`: a real shell completes by its script."""

import subprocess
from pathlib import Path

import pytest

from cli.commands import run_command

_COMPLETE = """
source "$1"
COMP_WORDS=(swarm-persistence "${@:2}")
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
$(complete -p swarm-persistence | sed 's/.*-F \\([^ ]*\\).*/\\1/')
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        (["tas"], {"tasks"}),
        (["tasks", "re"], {"retry", "release", "reject"}),
        (["prune", "--dr"], {"--dry-run"}),
        (["tasks", "list", "--status", "comp"], {"completed"}),
    ],
)
def test_bash_completes_commands_options_and_choices(words: list[str], completions: set[str], tmp_path: Path) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(run_command("completion", "bash").stdout)

    done = subprocess.run(
        ["bash", "-c", _COMPLETE, "bash", script, *words], capture_output=True, text=True, timeout=60, check=True
    )

    assert {*done.stdout.split()} == completions, done.stderr


def test_zsh_fish_and_tcsh_get_scripts_of_their_own() -> None:
    for shell, sign in (
        ("zsh", "#compdef swarm-persistence"),
        ("fish", "complete -c swarm-persistence"),
        ("tcsh", "complete swarm-persistence"),
    ):
        done = run_command("completion", shell)
        assert (done.returncode, sign in done.stdout) == (0, True), done.stderr
