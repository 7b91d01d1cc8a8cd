"""What the facts about ADK's services share: one user of one app, a session, and events."""

from typing import Any

from google.adk.events import Event, EventActions
from google.genai.types import Content, Part

A: Any = {"app_name": "app", "user_id": "user"}
S: Any = {**A, "session_id": "s"}


def said(text: str, delta: dict[str, Any] | None = None, **fields: Any) -> Event:
    """Return an event with a text."""
    content = Content(role="user", parts=[Part(text=text)])
    return Event(author="user", content=content, actions=EventActions(state_delta=delta or {}), **fields)
