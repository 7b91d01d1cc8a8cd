"""Every field of a body, and every truth value of a query, is refused as another type: by the OpenAPI document."""

from collections.abc import Iterator
from typing import Any

import httpx

WRONG: dict[str, tuple[Any, ...]] = {
    "boolean": (0, 1, 1.0, "true", "1"),
    "integer": ("1", True, 1.5),
    "number": ("1", True),
    "string": (1, True),
}
"""By the type of a field: values of others that could be taken for it."""


class Document:
    """The operations of an OpenAPI document, and the typed fields of what they take."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._schemas = document["components"]["schemas"]
        self.operations = [
            (method, path.replace("{id}", "x").replace("{group}", "x"), operation)
            for path, item in document["paths"].items()
            for method, operation in item.items()
        ]

    def fields(self, schema: dict[str, Any], *path: str | int) -> Iterator[tuple[tuple[str | int, ...], set[str]]]:
        """Yield the path of each field of a plain type, with the types that it may have."""
        kinds = [*self._kinds(schema)]
        for kind in kinds:
            for name, field in kind.get("properties", {}).items():
                yield from self.fields(field, *path, name)
            if kind.get("type") == "array" and "items" in kind:
                yield from self.fields(kind["items"], *path, 0)
        types = {str(kind.get("type", "any")) for kind in kinds}
        if path and types <= {"boolean", "integer", "number", "string", "null"}:
            yield path, types

    def _kinds(self, schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        others = schema.get("oneOf", schema.get("anyOf"))
        if others is not None:
            for other in others:
                yield from self._kinds(other)
        elif isinstance(schema.get("type"), list):
            for kind in schema["type"]:
                yield {**schema, "type": kind}
        else:
            yield schema


def nested(path: tuple[str | int, ...], value: Any) -> Any:
    """Return a body that has a value at a path, and nothing else."""
    for place in reversed(path):
        value = [value] if place == 0 else {place: value}
    return value


def wrong_values(types: set[str]) -> list[Any]:
    given = types - {"null"}
    if "number" in given:
        given |= {"integer"}
    allowed = {bool: "boolean", int: "integer", float: "number", str: "string"}
    every = [value for kind in types - {"null"} for value in WRONG[kind]]
    return [value for value in every if allowed[type(value)] not in given]


async def test_no_field_of_a_body_takes_a_value_of_another_type(client: httpx.AsyncClient) -> None:
    document = Document((await client.get("/api/openapi.json")).json())
    tried, flags = 0, set[str]()
    for method, path, operation in document.operations:
        content = operation.get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema")
        if schema is None:
            continue
        for place, types in document.fields(schema):
            flags |= {str(place[-1])} if "boolean" in types else set()
            for value in wrong_values(types):
                tried += 1
                # The parameters of a query are checked after the body, or are those of documents.
                answer = await client.request(method, f"{path}?collection=c&key=k", json=nested(place, value))
                where = (method, path, place, value, answer.text)
                assert answer.status_code == 422, where
                assert str(place[-1]) in answer.json()["detail"] or place[-1] == 0, where
    assert tried > 100
    assert {"dry_run", "is_running", "paused", "fails_with_dependencies"} <= flags


async def test_truth_values_in_a_query_are_true_or_false(client: httpx.AsyncClient) -> None:
    document = Document((await client.get("/api/openapi.json")).json())
    names = set[str]()
    for method, path, operation in document.operations:
        for parameter in operation.get("parameters", ()):
            if parameter["in"] != "query" or parameter.get("schema", {}).get("type") != "boolean":
                continue
            names.add(parameter["name"])
            for text in ("0", "1", "yes", "TRUE", "", "null"):
                answer = await client.request(method, path, params={"words": "w", parameter["name"]: text})
                assert answer.status_code == 422, (method, path, text)
                assert f"{parameter['name']} is {text!r}, expected true or false" in answer.json()["detail"]
    assert names == {"dry_run", "below"}
    assert (await client.get("/api/v1/documents/search?words=w&below=false")).status_code == 200
    assert (await client.delete("/api/v1/tasks?task_type=t&dry_run=false")).status_code == 200
