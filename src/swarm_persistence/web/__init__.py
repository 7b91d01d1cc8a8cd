"""A swarm over HTTP: its API, its live page and MCP; needs `pip install "swarm-persistence[web]"`."""

try:
    from swarm_persistence.web.app import SwarmApp, swarm_app
except ImportError as error:
    package = (error.name or "").partition(".")[0]
    if package not in ("jinja2", "litestar", "prometheus_client"):
        raise
    raise ImportError(f'this needs {package}: pip install "swarm-persistence[web]"', name=error.name) from error

__all__ = ["SwarmApp", "swarm_app"]
