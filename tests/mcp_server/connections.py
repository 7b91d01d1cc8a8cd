"""Connects the official client to the command, which runs in a process of its own."""

import json
import os
import sys
from pathlib import Path
from typing import Any, Literal

from mcp import Client, StdioServerParameters, types

ROOT = Path(__file__).parents[2]


def connected(
    database: Path | str, protocol: Literal["auto", "legacy"] = "auto", message_handler: Any = None
) -> Client:
    """Return a client of a new server process, to be entered; it speaks the latest protocol, or an earlier one."""
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "swarm_persistence", "mcp", str(database)],
        env={**os.environ, "PYTHONSAFEPATH": "1"},
    )
    return Client(command, mode=protocol, message_handler=message_handler, cache=None)


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    """Call a tool that must succeed, and return its answer."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    return json.loads(text_of(result))


async def failure(client: Client, tool: str, **arguments: Any) -> str:
    """Call a tool that must fail, and return what it says."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error, result
    return text_of(result)


async def read(client: Client, uri: str) -> Any:
    """Read a resource."""
    (content,) = (await client.read_resource(uri)).contents
    assert isinstance(content, types.TextResourceContents)
    return json.loads(content.text)


def text_of(result: types.CallToolResult) -> str:
    """Return the text of a tool's answer."""
    (content,) = result.content
    assert isinstance(content, types.TextContent)
    return content.text
