"""What a swarm means: the verbs, written once, a file per noun."""

from swarm_persistence.storage.completions import CompletedAndClaimed
from swarm_persistence.storage.deletions import Erased
from swarm_persistence.storage.document_search import FoundDocument
from swarm_persistence.storage.documents import PutCounts
from swarm_persistence.storage.metrics import MetricSummary
from swarm_persistence.storage.overview import AgentLiveness, Durations, TaskThroughput, ThroughputBucket, WaitingTasks
from swarm_persistence.storage.pruning import Pruned
from swarm_persistence.storage.recovery import Recovery
from swarm_persistence.storage.repository import Repository
from swarm_persistence.storage.schedule_times import next_times
from swarm_persistence.storage.schedules import ScheduleWatch
from swarm_persistence.storage.storage import Storage
from swarm_persistence.storage.task_changes import TaskChanges
from swarm_persistence.storage.task_dependencies import UnmetDependency
from swarm_persistence.storage.transactions import Transaction

__all__ = [
    "AgentLiveness",
    "CompletedAndClaimed",
    "Durations",
    "Erased",
    "FoundDocument",
    "MetricSummary",
    "Pruned",
    "PutCounts",
    "Recovery",
    "Repository",
    "ScheduleWatch",
    "Storage",
    "TaskChanges",
    "TaskThroughput",
    "ThroughputBucket",
    "Transaction",
    "UnmetDependency",
    "WaitingTasks",
    "next_times",
]
