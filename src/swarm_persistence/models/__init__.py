"""The records of a swarm: plain structs that know nothing of storage."""

from swarm_persistence.models.agents import AgentModel, AgentStatus
from swarm_persistence.models.base import Model
from swarm_persistence.models.documents import DocumentModel
from swarm_persistence.models.events import EventModel
from swarm_persistence.models.limits import TaskLimit
from swarm_persistence.models.messages import MessageModel, MessagePriority
from swarm_persistence.models.metrics import MetricModel
from swarm_persistence.models.past_claims import ClaimOutcome, PastClaim
from swarm_persistence.models.schedules import CatchUp, ScheduleModel
from swarm_persistence.models.tasks import KeyPolicy, TaskModel, TaskPriority, TaskStatus

__all__ = [
    "AgentModel",
    "AgentStatus",
    "CatchUp",
    "ClaimOutcome",
    "DocumentModel",
    "EventModel",
    "KeyPolicy",
    "MessageModel",
    "MessagePriority",
    "MetricModel",
    "Model",
    "PastClaim",
    "ScheduleModel",
    "TaskLimit",
    "TaskModel",
    "TaskPriority",
    "TaskStatus",
]
