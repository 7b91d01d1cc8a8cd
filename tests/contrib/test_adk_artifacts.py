"""What ADK says of its artifacts, as facts: on our service on each engine, and on the one that ADK ships.

`FAILS` names the facts that do not hold on ADK's own service.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from google.adk.artifacts import BaseArtifactService, InMemoryArtifactService
from google.adk.errors.input_validation_error import InputValidationError
from google.genai.types import Blob, FileData, Part

from contrib.adk_values import A, S
from contrib.storages import ENGINES, expect_what_fails, opened
from swarm_persistence.contrib.adk import SwarmArtifactService

FAILS = {"test_an_artifact_saved_without_a_session_belongs_to_the_user": {"adk-memory"}}


@pytest.fixture(autouse=True)
def _expect_what_fails(request: pytest.FixtureRequest) -> None:
    expect_what_fails(request, FAILS)


@pytest_asyncio.fixture(params=[*ENGINES, "adk-memory"])
async def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BaseArtifactService]:
    """Give each service of artifacts."""
    if request.param == "adk-memory":
        yield InMemoryArtifactService()
        return
    async with await opened(request.param, request, tmp_path) as storage:
        yield SwarmArtifactService(storage)


async def test_versions_of_an_artifact_count_from_zero(artifacts: BaseArtifactService) -> None:
    for number in range(12):
        assert await artifacts.save_artifact(**S, filename="a/b.txt", artifact=Part(text=f"{number}")) == number

    assert await artifacts.load_artifact(**S, filename="a/b.txt") == Part(text="11")
    assert await artifacts.load_artifact(**S, filename="a/b.txt", version=2) == Part(text="2")
    assert await artifacts.load_artifact(**S, filename="a/b.txt", version=12) is None
    assert await artifacts.list_versions(**S, filename="a/b.txt") == [*range(12)]
    assert await artifacts.list_versions(**S, filename="unknown") == []


async def test_writers_of_one_artifact_get_versions_of_their_own(artifacts: BaseArtifactService) -> None:
    saved = await asyncio.gather(
        *(artifacts.save_artifact(**S, filename="f", artifact=Part(text=f"{n}")) for n in range(10))
    )

    assert sorted(saved) == [*range(10)]
    for number, version in enumerate(saved):
        assert await artifacts.load_artifact(**S, filename="f", version=version) == Part(text=f"{number}")


async def test_bytes_of_an_artifact_come_out_equal(artifacts: BaseArtifactService) -> None:
    part = Part(inline_data=Blob(mime_type="image/png", data=bytes(range(256)) * 1000, display_name="picture"))
    as_dict = part.model_dump(mode="json", by_alias=True, exclude_none=True)

    for each in (part, as_dict):
        await artifacts.save_artifact(**S, filename="p", artifact=each, custom_metadata={"by": ["me"]})
        assert await artifacts.load_artifact(**S, filename="p") == part

    known = await artifacts.get_artifact_version(**S, filename="p", version=1)
    assert known is not None
    assert (known.version, known.mime_type, known.custom_metadata) == (1, "image/png", {"by": ["me"]})
    assert [each.version for each in await artifacts.list_artifact_versions(**S, filename="p")] == [0, 1]
    assert await artifacts.get_artifact_version(**S, filename="unknown") is None


async def test_an_artifact_may_be_no_unicode_and_its_metadata_no_json(artifacts: BaseArtifactService) -> None:
    part, metadata = Part(text="an emoji, cut in half: \ud83d"), {"rate": float("inf"), "\0": "\ud83d"}
    await artifacts.save_artifact(**S, filename="f", artifact=part, custom_metadata=metadata)

    assert await artifacts.load_artifact(**S, filename="f") == part
    [known] = await artifacts.list_artifact_versions(**S, filename="f")
    assert (known.custom_metadata, known.mime_type) == (metadata, "text/plain")


async def test_an_artifact_of_the_user_is_seen_in_all_sessions(artifacts: BaseArtifactService) -> None:
    await artifacts.save_artifact(**S, filename="user:u", artifact=Part(text="mine"))
    await artifacts.save_artifact(**S, filename="s", artifact=Part(text="session's"))

    assert await artifacts.load_artifact(**A, session_id="t", filename="user:u") == Part(text="mine")
    assert await artifacts.load_artifact(**A, session_id="t", filename="s") is None
    assert await artifacts.list_artifact_keys(**S) == ["s", "user:u"]
    assert await artifacts.list_artifact_keys(**A, session_id="t") == ["user:u"]
    assert await artifacts.list_artifact_keys(app_name="app", user_id="other", session_id="s") == []


async def test_an_artifact_saved_without_a_session_belongs_to_the_user(artifacts: BaseArtifactService) -> None:
    await artifacts.save_artifact(**A, filename="u", artifact=Part(text="mine"))

    assert await artifacts.load_artifact(**A, filename="u") == Part(text="mine")
    assert await artifacts.list_artifact_keys(**A) == ["user:u"]


async def test_a_deleted_artifact_is_gone_with_all_versions(artifacts: BaseArtifactService) -> None:
    for _ in range(2):
        await artifacts.save_artifact(**S, filename="f", artifact=Part(text="x"))
    await artifacts.save_artifact(**S, filename="f/g", artifact=Part(text="y"))

    await artifacts.delete_artifact(**S, filename="f")
    await artifacts.delete_artifact(**S, filename="f")

    assert await artifacts.load_artifact(**S, filename="f") is None
    assert await artifacts.list_artifact_keys(**S) == ["f/g"]
    assert await artifacts.save_artifact(**S, filename="f", artifact=Part(text="z")) == 0


async def test_a_reference_to_an_artifact_is_followed_within_its_scope(artifacts: BaseArtifactService) -> None:
    def reference(user: str, name: str, version: int) -> Part:
        uri = f"artifact://apps/app/users/{user}/sessions/s/artifacts/{name}/versions/{version}"
        return Part(file_data=FileData(file_uri=uri))

    await artifacts.save_artifact(**S, filename="f", artifact=Part(text="x"))
    await artifacts.save_artifact(**S, filename="link", artifact=reference("user", "f", 0))
    await artifacts.save_artifact(**S, filename="loop", artifact=reference("user", "loop", 0))

    assert await artifacts.load_artifact(**S, filename="link") == Part(text="x")
    with pytest.raises(InputValidationError, match="depth"):
        await artifacts.load_artifact(**S, filename="loop")
    with pytest.raises(InputValidationError, match="scope"):
        await artifacts.save_artifact(**S, filename="bad", artifact=reference("other", "f", 0))
    with pytest.raises(InputValidationError):
        await artifacts.save_artifact(**S, filename="empty", artifact=Part())


async def test_what_a_rewind_has_removed_is_absent(artifacts: BaseArtifactService) -> None:
    await artifacts.save_artifact(**S, filename="f", artifact=Part(text="x"))
    removed = Part(inline_data=Blob(mime_type="application/octet-stream", data=b""))
    await artifacts.save_artifact(**S, filename="f", artifact=removed)

    assert await artifacts.load_artifact(**S, filename="f") is None
    assert await artifacts.load_artifact(**S, filename="f", version=0) == Part(text="x")
