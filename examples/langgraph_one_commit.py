"""Commits what a LangGraph graph has saved, its task's completion, its event and its message as one: all, or none.

    python -m examples.langgraph_one_commit swarm.db
    python -m examples.langgraph_one_commit swarm.db --kill-after event

The second one kills its own process in the midst of it, as a power cut would: run the first one after it, and the task
is done as if it had never been begun. No model and no network is needed: a fake model answers.
"""

import argparse
import asyncio
import os
import signal
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AnyMessage, HumanMessage
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages

from swarm_persistence import EventModel, MessageModel, Storage, TaskModel, init_storage
from swarm_persistence.contrib.langgraph import SwarmSaver

TASK, THREAD = "task-1", "conversation-1"
PLACES = ("checkpoint", "task", "event", "message", "commit")
"""What the process may be killed after; all but the last one lie within the transaction."""


class State(TypedDict):
    """What the graph carries."""

    messages: Annotated[list[AnyMessage], add_messages]


def agent(storage: Storage) -> Any:
    """Return a graph of one node, which asks the model."""
    model = FakeListChatModel(responses=["Because."])

    async def answer(state: State) -> State:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(State)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    return builder.compile(checkpointer=SwarmSaver(storage))


async def work(storage: Storage, reach: Callable[[str], None]) -> bool:
    """Do the next task, and return whether there was one; `reach` is told of each part that is written."""
    async with storage.transaction():
        task = await storage.claim_next_task("agent-1")
        if task is None:
            return False
        config = {"configurable": {"thread_id": THREAD}}
        question = HumanMessage(task.payload["question"])
        # Within a transaction, the graph must have saved before it ends: "sync".
        state = await agent(storage).ainvoke({"messages": [question]}, config, durability="sync")
        reach("checkpoint")
        text = state["messages"][-1].text
        await storage.complete_task(task, {"answer": text})
        reach("task")
        await storage.store_event(EventModel.new("answered", {"thread": THREAD}).with_task(task.id))
        reach("event")
        await storage.store_message(MessageModel.new("agent-1", "agent-2", "answer", text))
        reach("message")
    reach("commit")
    return True


async def show(storage: Storage) -> None:
    """Print what is stored."""
    task = await storage.get_task(TASK)
    state = await agent(storage).aget_state({"configurable": {"thread_id": THREAD}})
    events, messages = await storage.read_events(), await storage.get_unread_messages("agent-2")
    said = [message.text for message in state.values.get("messages", [])]
    status = task.status.value if task else "missing"
    print(f"task {status}, conversation {said}, {len(events)} event(s), {len(messages)} message(s)")


async def main(target: str, killed_after: str | None) -> None:
    """Store the task if it is not there, do it, and print what is stored before and after."""

    def reach(place: str) -> None:
        if place == killed_after:
            os.kill(os.getpid(), signal.SIGKILL)

    async with await init_storage(target) as storage:
        if await storage.get_task(TASK) is None:
            await storage.store_task(TaskModel(id=TASK, task_type="answer", payload={"question": "Why?"}))
        await show(storage)
        await work(storage, reach)
        await show(storage)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.langgraph_one_commit", description=__doc__)
    parser.add_argument("target", nargs="?", default="swarm.db", help="a file, or the URL of a server")
    parser.add_argument("--kill-after", choices=PLACES)
    options = parser.parse_args()
    asyncio.run(main(options.target, options.kill_after))
