"""A swarm for the tests of the page and its pictures: every noun, every status, and a history of an hour."""

import random
from datetime import datetime, timedelta

from swarm_persistence import (
    AgentModel,
    AgentStatus,
    EventModel,
    MessageModel,
    MessagePriority,
    MetricModel,
    Storage,
    TaskModel,
    TaskPriority,
    TaskStatus,
)
from swarm_persistence.clock import now

TYPES = ("analyze-repository", "summarize", "write-tests", "review")
AGENTS = ("ada", "grace", "edsger", "barbara")


async def fill(storage: Storage, *, finished: int = 400) -> None:
    """Store the swarm."""
    present = now()
    chance = random.Random(1)
    await storage.store_many(_agents(present))
    await storage.store_tasks(_finished(present, chance, finished))
    await storage.store_tasks(_unfinished(present))
    for agent in AGENTS[:3]:
        await storage.claim_next_task(f"agent-{agent}", lease=300)
    for id in ("plan", "fetch"):
        assert await storage.claim_task(id, "agent-ada", lease=300)
        task = await storage.get_task(id)
        assert task is not None
        await storage.complete_task(task, {"files": 214, "language": "python"})
    assert await storage.claim_task("analyze", "agent-grace", lease=120)
    await storage.store_many(_history(present, chance))


def _agents(present: datetime) -> list[AgentModel]:
    ages = (2, 7, 140, 4000)
    statuses = (AgentStatus.BUSY, AgentStatus.BUSY, AgentStatus.IDLE, AgentStatus.ERROR)
    return [
        AgentModel(
            id=f"agent-{name}",
            name=name,
            agent_type="researcher" if place % 2 else "coder",
            status=status,
            capabilities=["python", "review"][: place % 3],
            metadata={"host": f"node-{place}", "pid": 4000 + place},
            heartbeat=present - timedelta(seconds=age),
            created_at=present - timedelta(hours=2, minutes=place),
        )
        for place, (name, age, status) in enumerate(zip(AGENTS, ages, statuses, strict=True))
    ]


def _finished(present: datetime, chance: random.Random, count: int) -> list[TaskModel]:
    tasks = []
    for place in range(count):
        end = present - timedelta(seconds=3500 * (count - place) / count + chance.random() * 8 + 1)
        run = chance.expovariate(1 / 4)
        wait = chance.expovariate(1 / 2)
        status = chance.choices((TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED), (90, 7, 3))[0]
        agent = chance.choice(AGENTS)
        tasks.append(
            TaskModel(
                task_type=chance.choice(TYPES),
                priority=chance.choice([*TaskPriority]),
                status=status,
                assigned_to=f"agent-{agent}",
                payload={"repository": "octo/hello", "commit": f"{chance.getrandbits(64):016x}"},
                result={"lines": chance.randrange(9000)} if status is TaskStatus.COMPLETED else None,
                error="TimeoutError: the model did not answer within 60 s" if status is TaskStatus.FAILED else None,
                retry_count=3 if status is TaskStatus.FAILED else 0,
                created_at=end - timedelta(seconds=run + wait),
                started_at=end - timedelta(seconds=run),
                completed_at=end,
                updated_at=end,
                claim_count=1,
            )
        )
    return tasks


def _unfinished(present: datetime) -> list[TaskModel]:
    def task(id: str, task_type: str, age: float, *dependencies: str, **fields: object) -> TaskModel:
        moment = present - timedelta(seconds=age)
        return TaskModel(
            id=id,
            task_type=task_type,
            payload={"goal": "map the modules of the repository", "depth": 3},
            dependencies=[*dependencies],
            created_at=moment,
            updated_at=moment,
            **fields,  # type: ignore[arg-type]
        )

    ready = [task(f"ready-{n}", TYPES[n % 3], 20 + 30 * n, priority=[*TaskPriority][n % 4]) for n in range(9)]
    return [
        *ready,
        task("plan", "plan", 400),
        task("fetch", "fetch-sources", 390),
        task("analyze", "analyze-repository", 380, "plan", "fetch", idempotency_key="octo/hello@main"),
        task("report", "write-report", 370, "analyze"),
        task("notify", "notify", 360, "analyze", "report"),
        task("later", "summarize", 300, run_at=present + timedelta(minutes=20)),
    ]


def _history(present: datetime, chance: random.Random) -> list[EventModel | MessageModel | MetricModel]:
    def at(age: float) -> datetime:
        return present - timedelta(seconds=age)

    events = [
        EventModel(
            event_type=chance.choice(("task_started", "tool_called", "file_read", "task_progress")),
            agent_id=f"agent-{AGENTS[n % 3]}",
            task_id="analyze" if n % 4 == 0 else f"ready-{n % 9}",
            data={"step": n, "tool": "grep"},
            timestamp=at(300 - n * 7),
        )
        for n in range(40)
    ]
    said = ("Which branch?", "main, please", "Found 214 files", "Skip the generated ones")
    messages = [
        MessageModel(
            from_agent=f"agent-{('ada', 'grace')[n % 2]}",
            to_agent=f"agent-{('grace', 'ada')[n % 2]}",
            message_type="question" if n == 0 else "answer",
            content={"text": text},
            priority=MessagePriority.HIGH if n == 0 else MessagePriority.NORMAL,
            read=n < 2,
            read_at=at(100) if n < 2 else None,
            timestamp=at(120 - n * 20),
        )
        for n, text in enumerate(said)
    ]
    metrics = [
        MetricModel(
            metric_type=("tokens", "latency")[n % 2],
            value=chance.gauss(900, 200) if n % 2 == 0 else abs(chance.gauss(0.8, 0.3)),
            unit=("count", "s")[n % 2],
            agent_id=f"agent-{AGENTS[n % 4]}",
            timestamp=at(3400 - n * 11),
        )
        for n in range(300)
    ]
    return [*events, *messages, *metrics]
