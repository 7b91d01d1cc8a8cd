"""The MCP SDK's own tests of resumption pass with our event store."""

from contrib.upstream.running import run_upstream

# Their conftest has them run on asyncio only, too.
OPTIONS = (
    *("--noconftest", "-o", "addopts=", "-o", "log_cli=false", "-n0", "-k", "asyncio", "-p", "no:asyncio"),
    "tests/interaction/transports/test_hosting_resume.py",
)


def test_the_mcp_sdks_own_tests_of_resumption_pass_with_our_event_store() -> None:
    assert run_upstream("mcp", "mcp_plugin", *OPTIONS).passed >= 8
