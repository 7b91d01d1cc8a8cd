"""A swarm over the Model Context Protocol; needs `pip install "swarm-persistence[mcp]"`."""

try:
    from swarm_persistence.mcp.server import swarm_server
except ImportError as error:
    # Also raised for an older version, which has other names.
    if not (error.name or "").startswith("mcp"):
        raise
    raise ImportError('this needs mcp 2.3 or newer: pip install "swarm-persistence[mcp]"', name=error.name) from error

__all__ = ["swarm_server"]
