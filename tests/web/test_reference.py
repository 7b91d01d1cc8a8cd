"""The reference at `/api`: a person finds there what the OpenAPI document says to programs."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from web.servers import client_of

METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture
async def both() -> AsyncIterator[tuple[dict[str, Any], str]]:
    """Return the document and the page."""
    async with client_of() as client:
        document = (await client.get("/api/openapi.json")).json()
        page = (await client.get("/api", headers={"Accept": "text/html"})).text
        yield document, page


async def test_every_operation_is_there_with_what_it_does(both: tuple[dict[str, Any], str]) -> None:
    document, page = both
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                assert re.search(rf">{method.upper()}</span><code>{re.escape(path)}</code>", page), (method, path)
                assert item[method]["summary"] == item[method]["summary"].strip() != ""
                assert item[method]["description"].startswith(item[method]["summary"])


async def test_every_type_that_is_named_leads_to_its_fields(both: tuple[dict[str, Any], str]) -> None:
    document, page = both
    targets = set(re.findall(r'href="#([^"]+)"', page)) - {"main"}
    assert targets >= {f"type-{name}" for name in ("NewTask", "TaskModel", "Problem")}
    assert targets <= set(re.findall(r' id="([^"]+)"', page))
    for name, schema in document["components"]["schemas"].items():
        section = page[page.index(f'id="type-{name}"') :].partition("<h3")[0]
        for field in schema.get("properties", {}):
            assert f"<code>{field}</code>" in section, (name, field)


async def test_what_stands_in_backquotes_is_code(both: tuple[dict[str, Any], str]) -> None:
    _, page = both
    assert "`" not in page
    assert "<code>Idempotency-Key</code>" in page
