"""Makes the records that an actor stores: of every model, small and large, each with an id of its own."""

import random
from typing import Any

from swarm_persistence import AgentModel, EventModel, MessageModel, MetricModel, Model, TaskModel


class FreshRecords:
    """The records of one actor, which carry its name."""

    def __init__(self, name: str, rng: random.Random) -> None:
        self._name = name
        self._rng = rng
        self._number = 0
        self.task_type = name

    def change_task_type(self) -> None:
        """Give later tasks another type: what claims them gets none of the earlier ones."""
        self._number += 1
        self.task_type = f"{self._name}-{self._number}"

    def any_record(self) -> Model:
        return self._rng.choice((self.task, self.agent, self.event, self.message, self.metric))()

    def task(self, **fields: Any) -> TaskModel:
        return TaskModel(
            id=self._id("task"),
            task_type=self.task_type,
            payload=self.payload(),
            max_retries=self._rng.randint(0, 1),
            **fields,
        )

    def agent(self) -> AgentModel:
        return AgentModel(id=self._id("agent"), name=self._name, agent_type="tortured", metadata={"p": self.payload()})

    def event(self) -> EventModel:
        return EventModel(id=self._id("event"), event_type=self._name, data=self.payload())

    def message(self) -> MessageModel:
        return MessageModel(
            id=self._id("message"),
            from_agent=self._name,
            to_agent=self._name,
            message_type="note",
            content=self.payload(),
        )

    def metric(self) -> MetricModel:
        return MetricModel(id=self._id("metric"), metric_type=self._name, value=self._rng.random(), unit="s")

    def _id(self, kind: str) -> str:
        self._number += 1
        return f"{kind}-{self._name}-{self._number}"

    def payload(self) -> str:
        # Most rows share a page, some fill one, and some spill over several.
        length = self._rng.choice((3, 3, 3, 30, 30, 300, 300, 3000, 9000))
        return self._rng.choice("abcdefgh") * length
