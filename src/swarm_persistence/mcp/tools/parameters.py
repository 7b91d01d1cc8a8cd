"""The parameters that several tools share, each with its description for the model."""

from typing import Annotated, Any, Literal

from msgspec import Meta

AgentId = Annotated[str, Meta(description="Your agent_id, as register_agent has returned it.")]
TaskId = Annotated[str, Meta(description="The id of the task.")]
Claim = Annotated[int, Meta(description="The claim number that claim_next_task has returned with the task.")]
Limit = Annotated[int, Meta(ge=1, le=200, description="How many to return at most.")]
Characters = Annotated[
    int,
    Meta(ge=0, le=10_000_000, description="Longer values are truncated to this many characters of JSON text."),
]
Lease = Annotated[
    float,
    Meta(
        gt=0,
        description="For how many seconds the claim holds. After that, another agent may get the task: call "
        "extend_lease before, as often as you need.",
    ),
]
Priority = Annotated[Literal["low", "medium", "high", "critical"], Meta(description="Urgent first.")]
Group = Annotated[str | None, Meta(description="Only those of this group, such as one user or tenant.")]
Tags = Annotated[dict[str, str] | None, Meta(description="Only those that have all of these tags.")]
NewGroup = Annotated[str | None, Meta(description="The group that it belongs to, such as one user or tenant.")]
NewTags = Annotated[dict[str, str] | None, Meta(description="Texts under keys, to find it by.")]
JsonValue = Any
