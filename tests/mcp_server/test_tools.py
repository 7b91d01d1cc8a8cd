"""Facts about the tools, as a client sees them over stdio."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from mcp_server.connections import call, connected, failure
from swarm_persistence import (
    AgentModel,
    MemoryStorage,
    MetricModel,
    Pruned,
    QueryBuilder,
    ScheduleModel,
    SqliteStorage,
    TaskModel,
)
from swarm_persistence.mcp.tool import ToolCallError
from swarm_persistence.mcp.tools import TOOLS as SERVED

TOOLS = {
    "register_agent",
    "heartbeat",
    "enqueue_task",
    "claim_next_task",
    "extend_lease",
    "report_progress",
    "complete_task",
    "fail_task",
    "approve_task",
    "reject_task",
    "list_schedules",
    "store_schedule",
    "pause_schedule",
    "resume_schedule",
    "delete_schedule",
    "list_limits",
    "set_limit",
    "delete_limit",
    "delete_records",
    "prune",
    "cancel_task",
    "retry_task",
    "release_task",
    "wait_for_task",
    "list_blocked_tasks",
    "list_tasks",
    "send_message",
    "read_messages",
    "append_event",
    "read_events",
    "record_metric",
    "remember",
    "recall",
    "swarm_status",
}


async def test_each_tool_and_each_argument_is_described(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        tools = (await client.list_tools()).tools
        instructions = client.instructions or ""

    assert {tool.name for tool in tools} == TOOLS
    for tool in tools:
        assert tool.description
        assert tool.annotations is not None
        for name, schema in tool.input_schema.get("properties", {}).items():
            assert schema.get("description"), f"{tool.name}: {name}"
    assert all(name in instructions for name in ("register_agent", "claim_next_task", "complete_task", "extend_lease"))


async def test_what_is_stored_is_what_the_library_reads(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        text = '{"looks": "like JSON"}'
        task = await call(client, "enqueue_task", task_type="t", payload=text, max_retries=0, idempotency_key="once")
        again = await call(client, "enqueue_task", task_type="t", payload=text, idempotency_key="once")
        await call(
            client, "record_metric", metric_type="tokens", value=12, unit="tokens", agent_id="a", tags={"k": "v"}
        )
        event = await call(client, "append_event", event_type="e", data=[1], agent_id="a", task_id=task["task_id"])

    async with await SqliteStorage.open(tmp_path / "swarm.db", must_exist=True) as storage:
        stored = await storage.get_task(task["task_id"])
        (metric,) = await storage.get_metrics_by_agent("a", "tokens")
        (logged,) = await storage.read_events()
    assert stored is not None
    assert (stored.payload, stored.max_retries) == (text, 0)
    assert (task["created"], again) == (True, {"task_id": task["task_id"], "status": "pending", "created": False})
    assert (metric.value, metric.unit, metric.tags) == (12.0, "tokens", {"k": "v"})
    assert (logged.data, logged.task_id, logged.sequence) == ([1], task["task_id"], event["sequence"])


async def test_an_operator_sees_limits_and_pauses_schedules(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        async with await SqliteStorage.open(tmp_path / "swarm.db") as storage:
            await storage.set_limit("mail", starts=100, per=60)
            await storage.store_schedule(ScheduleModel.new("often", "sync", every=90))
        limits = await call(client, "list_limits")
        paused = await call(client, "pause_schedule", name="often")
        (schedule,) = (await call(client, "list_schedules"))["schedules"]
        resumed = await call(client, "resume_schedule", name="often")
        unknown = await failure(client, "pause_schedule", name="never")

    assert limits == {"limits": [{"task_type": "mail", "starts": 100, "per_seconds": 60.0}]}
    assert paused == {"name": "often", "paused": True}
    assert (schedule["name"], schedule["task_type"], schedule["paused"]) == ("often", "sync", True)
    assert resumed["paused"] is False
    assert resumed["next_at"] is not None
    assert "schedule 'never'" in unknown


async def test_errors_are_answers_with_the_message_of_the_library(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        unknown = await failure(client, "heartbeat", agent_id="unknown")
        missing = await failure(client, "enqueue_task")
        misspelt = await failure(client, "enqueue_task", task_type="t", payloads=1)
        wrong = await failure(client, "list_tasks", limit="5")
        surplus = await failure(client, "list_tasks", limit=100_000)
        refused = await failure(client, "register_agent", name="a\0b", agent_type="t")
        endless = await failure(client, "enqueue_task", task_type="t", delay_seconds=1e12)
        kept_on = await failure(client, "remember", key="k", value=1, expires_in_seconds=1e300)
        no_tool = await failure(client, "drop_tables")

    assert unknown == "Not found: agent 'unknown'"
    assert missing == "Invalid arguments of enqueue_task: Object missing required field `task_type`"
    assert misspelt == "Invalid arguments of enqueue_task: Object contains unknown field `payloads`"
    assert wrong == "Invalid arguments of list_tasks: Expected `int`, got `str` - at `$.limit`"
    assert surplus == "Invalid arguments of list_tasks: Expected `int` <= 200 - at `$.limit`"
    assert endless == "Invalid arguments of enqueue_task: Expected `float` <= 3162240000.0 - at `$.delay_seconds`"
    assert kept_on == "Invalid arguments of remember: Expected `float` <= 3162240000.0 - at `$.expires_in_seconds`"
    assert refused.startswith("Serialization error: agent.name")
    assert no_tool.startswith("There is no tool 'drop_tables', expected one of swarm_status, ")


async def test_long_values_are_truncated_with_a_hint_how_to_get_all(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        long = "x" * 50_000
        task_id = (await call(client, "enqueue_task", task_type="t", payload=long))["task_id"]
        (short,) = (await call(client, "list_tasks"))["tasks"]
        (whole,) = (await call(client, "list_tasks", task_ids=[task_id], max_characters=100_000))["tasks"]
        await call(client, "send_message", from_agent="a", to_agent="b", content=long)
        (message,) = (await call(client, "read_messages", agent_id="b"))["messages"]
        (whole_message,) = (
            await call(client, "read_messages", agent_id="b", message_ids=[message["id"]], max_characters=100_000)
        )["messages"]

    assert short["payload"] == {
        "truncated": "x" * 500,
        "characters": 50_000,
        "hint": f"to get all: list_tasks with task_ids=['{task_id}'] and a larger max_characters",
    }
    assert whole["payload"] == long
    assert message["content"]["characters"] == 50_000
    assert whole_message["content"] == long


async def test_lists_are_short_and_say_how_to_go_on(tmp_path: Path) -> None:
    async with await SqliteStorage.open(tmp_path / "swarm.db") as storage:
        ids = [(await storage.store_task(TaskModel.new("t", None))).id for _ in range(25)]
    async with connected(tmp_path / "swarm.db") as client:
        first = await call(client, "list_tasks")
        second = await call(client, "list_tasks", before=first["tasks"][-1]["id"])

    listed = [task["id"] for task in first["tasks"] + second["tasks"]]
    assert (len(first["tasks"]), listed) == (20, ids[::-1])
    assert first["more"] == f"list_tasks with the same filters and before={ids[5]!r}"
    assert "more" not in second


async def test_a_message_is_unread_until_it_was_returned(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        for content in ("first", "second", "third"):
            await call(client, "send_message", from_agent="a", to_agent="b", content=content)
        await call(client, "send_message", from_agent="b", to_agent="a", content="reply", priority="urgent")
        two = await call(client, "read_messages", agent_id="b", limit=2)
        rest = await call(client, "read_messages", agent_id="b")
        none = await call(client, "read_messages", agent_id="b")
        conversation = await call(client, "read_messages", agent_id="b", with_agent="a")
        of_the_other = await call(client, "read_messages", agent_id="a")

    assert [message["content"] for message in two["messages"]] == ["first", "second"]
    assert two["more"] == "call it again"
    assert [message["content"] for message in rest["messages"]] == ["third"]
    assert none == {"messages": []}
    assert [message["content"] for message in conversation["messages"]] == ["reply", "third", "second", "first"]
    assert [message["content"] for message in of_the_other["messages"]] == ["reply"]


async def test_the_log_can_be_followed_without_gaps_or_repetitions(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        for number in range(5):
            await call(client, "append_event", event_type="odd" if number % 2 else "even", data=number, agent_id="a")
        latest = await call(client, "read_events", limit=2)
        odd = await call(client, "read_events", event_types=["odd"], agent_id="a")
        start = await call(client, "read_events", after=0, limit=3)
        rest = await call(client, "read_events", after=start["next_after"], limit=3)
        end = await call(client, "read_events", after=rest["next_after"])
        refusal = await failure(client, "read_events", after=0, agent_id="a")

    assert [event["data"] for event in latest["events"]] == [4, 3]
    assert [event["data"] for event in odd["events"]] == [3, 1]
    assert [event["data"] for event in start["events"] + rest["events"]] == [0, 1, 2, 3, 4]
    assert end == {"events": [], "next_after": rest["next_after"]}
    assert "agent_id, task_id, group and tags" in refusal


async def test_what_is_remembered_is_recalled_by_key_by_words_and_by_label(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        new = await call(client, "remember", key="db", value="The database is PostgreSQL 17")
        replaced = await call(client, "remember", key="db", value={"note": "the database is SQLite"}, label="decision")
        await call(client, "remember", key="own", value="mine", collection=["memories", "agent-1"])
        by_key = await call(client, "recall", key="db")
        by_words = await call(client, "recall", words="sqlite database")
        by_label = await call(client, "recall", label="decision")
        latest = await call(client, "recall")
        nothing = await call(client, "recall", key="own")

    assert (new["replaced"], replaced["replaced"]) == (False, True)
    assert [each["value"] for each in by_key["memories"]] == [{"note": "the database is SQLite"}]
    assert by_key["memories"] == by_words["memories"] == by_label["memories"]
    assert [each["key"] for each in latest["memories"]] == ["own", "db"]
    assert nothing == {"memories": []}


async def test_records_are_stored_in_a_group_with_tags_and_listed_by_them(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        for group, tags in (("x", {"run": "1"}), ("x", {"run": "12"}), ("y", {"run": "1"})):
            belongs: dict[str, Any] = {"group": group, "tags": tags}
            kind = f"{group}-{tags['run']}"
            await call(client, "enqueue_task", task_type=kind, **belongs)
            await call(client, "append_event", event_type=kind, **belongs)
            await call(client, "send_message", from_agent="a", to_agent="b", content=kind, **belongs)
            await call(client, "record_metric", metric_type=kind, value=1, unit="s", **belongs)
            await call(client, "register_agent", name=kind, agent_type="coder", **belongs)
        tasks = await call(client, "list_tasks", group="x", tags={"run": "1"})
        events = await call(client, "read_events", group="x", tags={"run": "1"})
        unread = await call(client, "read_messages", agent_id="b", group="x", tags={"run": "1"})
        others = await call(client, "read_messages", agent_id="b")
        between = await failure(client, "read_messages", agent_id="b", with_agent="a", group="x")

    assert [task["task_type"] for task in tasks["tasks"]] == ["x-1"]
    assert [event["event_type"] for event in events["events"]] == ["x-1"]
    assert [message["content"] for message in unread["messages"]] == ["x-1"]
    assert [message["content"] for message in others["messages"]] == ["x-12", "y-1"]
    assert "leave them, or 'with_agent'" in between
    async with await SqliteStorage.open(tmp_path / "swarm.db") as storage:
        metrics = await storage.repository(MetricModel).query(QueryBuilder(MetricModel).where_eq("group", "x"))
        agents = await storage.repository(AgentModel).query(QueryBuilder(AgentModel).where_tag("run", "12"))
    assert [metric.metric_type for metric in metrics] == ["x-1", "x-12"]
    assert [agent.name for agent in agents] == ["x-12"]


async def test_the_status_shows_tasks_agents_and_unread_messages(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        me = (await call(client, "register_agent", name="coder", agent_type="coder", capabilities=["t"]))["agent_id"]
        again = await call(client, "register_agent", name="coder-2", agent_type="coder", agent_id=me)
        await call(client, "heartbeat", agent_id=me, status="busy")
        task = await call(client, "enqueue_task", task_type="t")
        await call(client, "send_message", from_agent="a", to_agent=me, content="hi")
        status = await call(client, "swarm_status")

    (agent,) = status.pop("agents")
    assert again == {"agent_id": me, "registered": "again"}
    assert 0 <= agent.pop("heartbeat_seconds_ago") < 600
    assert agent == {
        "agent_id": me,
        "name": "coder-2",
        "agent_type": "coder",
        "status": "busy",
        "capabilities": [],
    }
    assert status == {
        "tasks": {"t": {"pending": 1}},
        "next_ready_task": {"id": task["task_id"], "task_type": "t"},
        "unread_messages": 1,
        "events": 0,
    }


async def test_old_records_are_pruned_only_if_asked_for(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        task = await call(client, "enqueue_task", task_type="t")
        await call(client, "enqueue_task", task_type="t")
        await call(client, "cancel_task", task_id=task["task_id"])
        await call(client, "append_event", event_type="found")
        counted = await call(client, "prune", older_than_seconds=0, kinds=["tasks", "events"])
        kept = await call(client, "prune", older_than_seconds=3600, dry_run=False)
        pruned = await call(client, "prune", older_than_seconds=0, kinds=["tasks"], dry_run=False)
        tasks, events = await call(client, "list_tasks"), await call(client, "read_events")
        refused = [
            await failure(client, "prune", **arguments, dry_run=False)
            for arguments in ({}, {"older_than_seconds": -1}, {"older_than_seconds": 0, "kinds": []})
        ]

    assert counted == {"tasks": 1, "events": 1, "deleted": False}
    assert (sum(kept[kind] for kind in Pruned.__struct_fields__), kept["deleted"]) == (0, True)
    assert pruned == {"tasks": 1, "deleted": True}
    assert (len(tasks["tasks"]), len(events["events"])) == (1, 1)
    assert ["older_than_seconds" in refused[0], "kinds" in refused[2], ">= 0" in refused[1]] == [True] * 3


async def test_records_are_deleted_only_by_a_filter_and_only_if_asked_for(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        for run in ("7", "7", "8"):
            await call(client, "enqueue_task", task_type="t", tags={"run": run})
        empty: list[dict[str, Any]] = [{}, {"nothing": "7"}, {"status": []}]
        chosen = {"kind": "tasks", "filters": {"tags.run": "7", "status": ["pending", "failed"]}}
        counted = await call(client, "delete_records", **chosen)
        before = await call(client, "list_tasks")
        deleted = await call(client, "delete_records", **chosen, dry_run=False)
        after = await call(client, "list_tasks")
        refused = [
            await failure(client, "delete_records", kind="tasks", filters=filters, dry_run=False) for filters in empty
        ]
        (tool,) = (each for each in (await client.list_tools()).tools if each.name == "delete_records")

    assert (counted, deleted) == ({"count": 2, "deleted": False}, {"count": 2, "deleted": True})
    assert [len(answer["tasks"]) for answer in (before, after)] == [3, 1]
    assert "length >= 1" in refused[0]
    assert "has no field 'nothing'" in refused[1]
    assert "no condition" in refused[2]
    assert tool.annotations is not None
    assert tool.annotations.destructive_hint


async def test_schedules_are_stored_replaced_and_deleted(tmp_path: Path) -> None:
    new = {"name": "nightly", "task_type": "sum", "payload": [1], "timezone": "Europe/Berlin", "catch_up": "all"}
    fields = {"group": "x", "required_capabilities": ["gpu"]}
    begins = "2026-12-01T00:00:00Z"
    times = {"cron": "30 2 * * *", "starts_at": begins}
    async with (
        await SqliteStorage.open(tmp_path / "swarm.db") as storage,
        connected(tmp_path / "swarm.db") as client,
    ):
        stored = await call(client, "store_schedule", **new, **times, priority="high", task_fields=fields)
        first = await storage.get_schedule("nightly")
        await call(client, "pause_schedule", name="nightly")
        replaced = await call(client, "store_schedule", **new, every_seconds=60)
        second = await storage.get_schedule("nightly")
        refused = [
            await failure(client, "store_schedule", **new),
            await failure(client, "store_schedule", **new, every_seconds=60, task_fields={"status": "completed"}),
            await failure(client, "store_schedule", **new, cron="sometimes"),
        ]
        deleted = [await call(client, "delete_schedule", name="nightly") for _ in range(2)]
        paused = await call(client, "store_schedule", **new, every_seconds=60, paused=True)

    assert first is not None
    assert second is not None
    assert (stored["paused"], paused["paused"]) == (False, True)
    assert datetime.fromisoformat(stored["next_at"]) == first.next_at
    assert (first.cron, first.timezone, first.catch_up.value) == ("30 2 * * *", "Europe/Berlin", "all")
    assert (first.payload, first.priority.value, first.task_fields) == ([1], "high", fields)
    assert first.starts_at == datetime.fromisoformat(begins)
    assert replaced["paused"] is True
    assert (second.every, second.cron, second.paused, second.task_fields) == (60.0, None, True, {})
    assert "exactly one of the two" in refused[0]
    assert "task_fields['status']" in refused[1]
    assert "schedule.cron is 'sometimes'" in refused[2]
    assert [answer["deleted"] for answer in deleted] == [True, False]


async def test_a_limit_is_set_and_deleted(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        for key in ("a", "a"):
            await call(client, "enqueue_task", task_type="crawl", concurrency_key=key)
        limit = await call(client, "set_limit", task_type="crawl", per_key=1, starts=9, per_seconds=60)
        claimed = [(await call(client, "claim_next_task", agent_id="me"))["task"] for _ in range(2)]
        refused = await failure(client, "set_limit", task_type="crawl", starts=9)
        deleted = [await call(client, "delete_limit", task_type="crawl") for _ in range(2)]
        last = await call(client, "claim_next_task", agent_id="me")

    assert limit == {"task_type": "crawl", "per_key": 1, "starts": 9, "per_seconds": 60.0}
    assert [task is None for task in claimed] == [False, True]
    assert "starts and per belong together" in refused
    assert [answer["deleted"] for answer in deleted] == [True, False]
    assert last["task"] is not None


async def test_no_argument_takes_a_value_of_another_type() -> None:
    wrong: dict[str, tuple[Any, ...]] = {
        "boolean": (0, 1, "true"), "integer": ("1", True), "number": ("1", True), "string": (1, True),
    }  # fmt: skip
    flags = set[str]()
    async with MemoryStorage() as storage:
        for tool in SERVED.values():
            for name, schema in tool.input_schema.get("properties", {}).items():
                kinds = {each.get("type") for each in schema.get("anyOf", [schema])} - {"null"}
                if not kinds <= wrong.keys():
                    continue
                flags |= {name} if "boolean" in kinds else set()
                for value in {value for kind in kinds for value in wrong[kind]}:
                    with pytest.raises(ToolCallError, match=rf"{tool.name}: Expected .* - at `\$\.{name}`"):
                        await tool.call(storage, {name: value})
    assert {"dry_run", "mark_read", "paused", "retry"} <= flags
