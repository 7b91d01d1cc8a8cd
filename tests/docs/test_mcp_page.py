"""What the page about MCP shows is run: its configuration by the official client, its programs by Python."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from swarm_persistence.mcp.resources import listed_resources, resource_templates
from swarm_persistence.mcp.tools import TOOLS

PAGE = (Path(__file__).parents[2] / "docs" / "mcp.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```\n\n```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
WITH_COMMAND = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


async def test_the_configuration_starts_a_server(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    swarm = json.loads(text)["mcpServers"]["swarm"]
    arguments = [each.replace("/home/me", str(tmp_path)) for each in swarm["args"]]

    async with Client(StdioServerParameters(command=swarm["command"], args=arguments, env=WITH_COMMAND)) as client:
        tools = (await client.list_tools()).tools

    assert {tool.name for tool in tools} == {*TOOLS}
    assert (tmp_path / "swarm.db").exists()


def test_it_names_each_tool_and_each_resource() -> None:
    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    uris = {str(each.uri) for each in listed_resources()} | {each.uri_template for each in resource_templates()}

    assert listed == {*TOOLS}
    assert {*re.findall(r"`(swarm://.*?)`", PAGE)} == uris


@pytest.mark.parametrize(("program", "output"), PROGRAMS)
def test_a_program_prints_what_it_shows(program: str, output: str, tmp_path: Path) -> None:
    done = subprocess.run(
        (sys.executable, "-W", "error", "-c", program),
        cwd=tmp_path,
        env=WITH_COMMAND,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert PAGE.count("```python") == len(PROGRAMS)
    assert re.sub(r'"id":"[^"]*"', '"id":"…"', done.stdout) == output, done.stderr
