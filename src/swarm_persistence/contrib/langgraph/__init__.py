"""LangGraph's checkpointer and store over documents; needs `pip install "swarm-persistence[langgraph]"`."""

from swarm_persistence.contrib.langgraph.saver import SwarmSaver
from swarm_persistence.contrib.langgraph.store import SwarmStore

__all__ = ["SwarmSaver", "SwarmStore"]
