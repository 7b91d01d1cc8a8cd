"""What the page about HTTP shows is run: its commands by a shell, its scripts by Node and Python."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx

from web.servers import server

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text()
SHOWN = "http://127.0.0.1:8787"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def run(*command: str, directory: Path) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_shell_stores_claims_and_completes(tmp_path: Path) -> None:
    (script,) = blocks("bash")
    with server(tmp_path, "swarm.db") as started:
        run("bash", "-e", "-c", script.replace(SHOWN, started.url), directory=tmp_path)
        (task,) = httpx.get(f"{started.url}/api/v1/tasks").json()["items"]
    assert (task["status"], task["result"], task["assigned_to"]) == ("completed", {"words": 2}, "shell")


def test_a_script_follows_the_log(tmp_path: Path) -> None:
    (script,) = blocks("javascript")
    with server(tmp_path, "swarm.db") as started:
        for event_type in ("lost", "found"):
            event = {"event_type": event_type, "data": f"was {event_type}"}
            httpx.post(f"{started.url}/api/v1/events", json=event).raise_for_status()
        module = tmp_path / "follow.mjs"
        module.write_text(script.replace(SHOWN, started.url))
        assert run("node", str(module), directory=tmp_path) == "was found\n"


def test_the_commands_start_a_server(tmp_path: Path) -> None:
    commands = [line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines()]
    served = 0
    for command in commands:
        if command.startswith("pip install"):
            assert command == "pip install 'swarm-persistence[web]'"
        elif command.startswith("swarm-persistence serve"):
            with server(tmp_path, *shlex.split(command)[2:]) as started:
                url = started.url.replace("0.0.0.0", "127.0.0.1")
                assert httpx.get(f"{url}/api/v1/tasks").status_code == (401 if "--token-file" in command else 200)
            served += 1
        else:
            run("bash", "-c", command, directory=tmp_path)
    assert served == 2


def test_the_application_can_be_mounted(tmp_path: Path) -> None:
    ((program, output),) = re.findall(r"^```python\n(.*?)^```\n\n```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert run(sys.executable, "-W", "error", "-c", program, directory=tmp_path) == output


def test_no_block_is_left_out() -> None:
    languages = re.findall(r"^```(\w+)$", PAGE, re.MULTILINE)
    assert sorted(languages) == ["bash", "console", "console", "javascript", "python"]


def test_its_table_names_paths_that_there_are(tmp_path: Path) -> None:
    with server(tmp_path, "swarm.db") as started:
        document = httpx.get(f"{started.url}/api/openapi.json").json()
    paths = json.dumps([*document["paths"]])
    for named in re.findall(r"`(?:GET |POST |PATCH |PUT |DELETE )?(/[a-z]+(?:/[a-z{}]+)*)[^`]*`", PAGE):
        if not named.startswith(("/mcp", "/api")):
            assert named in paths, named
