"""Schemathesis against the OpenAPI document: whatever is sent, no answer is a failure of the server."""

import os
from pathlib import Path
from typing import Any

import httpx
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from web.servers import server

EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", "2"))
"""For each operation, valid and invalid; `make contract` tries many more."""
LONGEST_WAIT_SECONDS = 0.01


def test_nothing_that_is_sent_makes_the_server_fail(tmp_path: Path) -> None:
    with server(tmp_path, str(tmp_path / "swarm.db")) as started:
        for noun, body in SAMPLES.items():
            httpx.post(f"{started.url}/api/v1/{noun}", json={"id": "x", **body}).raise_for_status()
        httpx.put(f"{started.url}/api/v1/limits/t", json={"running": 5}).raise_for_status()
        document = httpx.get(f"{started.url}/api/openapi.json").json()
        found: list[Any] = [*schemathesis.openapi.from_dict(document).get_all_operations()]
        operations = [each.ok() for each in found]
        assert len(operations) > 40
        for operation in operations:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                try_examples(operation, mode, started.url)
        # The server's log, which says of each unexpected failure, is looked at where it ends.


SAMPLES: dict[str, dict[str, Any]] = {
    "agents": {"name": "a", "agent_type": "t"},
    "tasks": {"task_type": "t"},
    "events": {"event_type": "t"},
    "messages": {"from_agent": "a", "to_agent": "x", "message_type": "t"},
    "metrics": {"metric_type": "t", "value": 1, "unit": "u"},
}


def try_examples(operation: Any, mode: GenerationMode, url: str) -> None:
    session = requests.Session()

    @settings(
        max_examples=EXAMPLES,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        for parameters in (case.body, case.query):
            if isinstance(parameters, dict) and "wait" in parameters:
                parameters["wait"] = LONGEST_WAIT_SECONDS
        sent = case.as_transport_kwargs(base_url=url)
        with session.request(**sent, stream=True, timeout=60) as answer:  # a stream goes on after its headers
            assert answer.status_code < 500, (sent, answer.text)
            if answer.status_code >= 400:
                assert answer.headers["content-type"] == "application/problem+json", (sent, answer.text)

    try:
        send()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE  # any text is valid for some operations
