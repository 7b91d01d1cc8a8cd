"""ADK's services over documents; needs `pip install "swarm-persistence[adk]"`."""

try:
    import google.adk.sessions  # noqa: F401
except ImportError as error:
    raise ImportError('these services need ADK: pip install "swarm-persistence[adk]"') from error

from swarm_persistence.contrib.adk.artifacts import SwarmArtifactService
from swarm_persistence.contrib.adk.memory import SwarmMemoryService
from swarm_persistence.contrib.adk.sessions import SwarmSessionService

__all__ = ["SwarmArtifactService", "SwarmMemoryService", "SwarmSessionService"]
