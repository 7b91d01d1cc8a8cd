"""A swarm for the tests of the page and its pictures: every noun, every status, and a history of an hour."""

import random
from datetime import datetime, timedelta

from swarm_persistence import (
    AgentModel,
    AgentStatus,
    DocumentModel,
    EventModel,
    MessageModel,
    MessagePriority,
    MetricModel,
    ScheduleModel,
    Storage,
    TaskModel,
    TaskPriority,
    TaskStatus,
)
from swarm_persistence.clock import now
from swarm_persistence.worker.registration import INCARNATION, TASK_TYPES

TYPES = ("analyze-repository", "summarize", "write-tests", "review")
HANDLED = (*TYPES, "call-model", "fetch-sources", "notify", "plan", "publish", "write-report")
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
    analyzed = await storage.get_task("analyze")
    assert analyzed is not None
    await storage.report_progress(analyzed, 0.4, "module 12 of 30")
    await storage.store_many(_history(present, chance))
    await _limit(storage)
    for schedule in _schedules(present):
        await storage.store_schedule(schedule)
    await storage.pause_schedule("weekly-audit")
    await storage.put_documents(_documents(present))


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
            metadata={"host": f"node-{place}", "pid": 4000 + place, INCARNATION: f"{place}", TASK_TYPES: [*HANDLED]},
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
        task(
            "approve-publish", "approve-publish", 250, priority=TaskPriority.HIGH, group="octo", tags={"team": "docs"}
        ),
        task("publish", "publish", 249, "approve-publish"),
    ]


async def _limit(storage: Storage) -> None:
    keys = ("octo", "octo", "octo", "initech", "initech", None)
    tasks = [TaskModel(id=f"call-{n}", task_type="call-model", concurrency_key=key) for n, key in enumerate(keys)]
    await storage.set_limit("call-model", running=4, per_key=2, starts=3, per=3600)
    await storage.set_limit("summarize", running=2)
    await storage.store_tasks(tasks)
    for _ in range(4):
        await storage.claim_next_task("agent-ada", lease=300, task_types=["call-model"])


def _schedules(present: datetime) -> list[ScheduleModel]:
    return [
        ScheduleModel.new(
            "nightly-report", "write-report", {"scope": "all"}, cron="30 2 * * *", timezone="Europe/Berlin"
        ),
        ScheduleModel.new("refresh-sources", "fetch-sources", every=900, starts_at=present - timedelta(minutes=4)),
        ScheduleModel.new("weekly-audit", "review", {"depth": 5}, cron="0 9 * * 1", catch_up="skip"),
    ]


def _documents(present: datetime) -> list[DocumentModel]:
    facts = (
        "The build takes nine minutes",
        "Tests live beside the code",
        "Releases are cut on Mondays",
        "Ada owns the parser",
    )
    memories = [
        DocumentModel.new(("memories", f"agent-{AGENTS[n % 2]}"), f"fact-{n}", {"text": text}, label="fact")
        for n, text in enumerate(facts)
    ]
    return [
        *memories,
        DocumentModel.new(("files", "octo", "hello"), "README.md", {"lines": 214}, b"# Hello\n\nA small program.\n"),
        DocumentModel.new(("cache", "models"), "last-answer", {"tokens": 812}, expires_at=present + timedelta(hours=2)),
        DocumentModel.new(("cache", "models"), "vector", {"of": "README.md"}, embedding=[0.25, 0.5, 0.75]),
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
