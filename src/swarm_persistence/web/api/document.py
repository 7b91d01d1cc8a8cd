"""The OpenAPI document, and the page that shows it: rendered here, so that it needs no script and no other site."""

from html import escape
from typing import Any

import msgspec
from litestar import MediaType, Request
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Server
from litestar.utils import normalize_path

from swarm_persistence import __version__
from swarm_persistence.web.access import visit_of
from swarm_persistence.web.problems import MEDIA_TYPE, Problem

AnyRequest = Request[Any, Any, Any]

_PROBLEM = {
    "description": "A problem (RFC 9457): its detail is the message of the library.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_DESCRIPTION = """\
Agents, tasks, events, messages, metrics and documents of a swarm. Errors are problems (RFC 9457) with the library's own
message. A change with an `Idempotency-Key` is made once, however often it is sent."""


_PATH = "/api"
_PATHS = (_PATH, f"{_PATH}/openapi.json")
_API = f"{_PATH}/v1"


def is_unknown_document(path: str) -> bool:
    """Tell whether a path is below that of the documents, and is neither one of them nor one of the API.

    Litestar has a page of its own there, for all callers.
    """
    normal = normalize_path(path)
    return normal.startswith(f"{_PATH}/") and normal not in _PATHS and not f"{normal}/".startswith(f"{_API}/")


def openapi_config() -> OpenAPIConfig:
    """Return where the document and its page are, and what heads them."""
    return OpenAPIConfig(
        title="swarm-persistence",
        version=__version__,
        description=_DESCRIPTION,
        path=_PATH,
        servers=[Server(url="..")],  # relative to /api/openapi.json, wherever the application is mounted
        render_plugins=[DocumentFile(path="/openapi.json"), ReferencePage(path="/")],
        use_handler_docstrings=True,
    )


class DocumentFile(JsonRenderPlugin):
    """Renders the document as JSON."""

    def render(self, request: AnyRequest, openapi_schema: dict[str, Any]) -> bytes:
        """Return the document."""
        return super().render(request, _with_problems(openapi_schema))


class ReferencePage(OpenAPIRenderPlugin):
    """Renders the document as plain HTML."""

    def __init__(self, *, path: str) -> None:
        super().__init__(path=path, media_type=MediaType.HTML)

    def render(self, request: AnyRequest, openapi_schema: dict[str, Any]) -> bytes:
        """Return the page."""
        root = visit_of(request.scope).root
        document = _with_problems(openapi_schema)
        sections = [
            _operation(method, path, operation)
            for path, item in document["paths"].items()
            for method, operation in item.items()
            if isinstance(operation, dict)
        ]
        title = escape(openapi_schema["info"]["title"])
        style = f'<link rel="stylesheet" href="{escape(root)}/static/reference.css">'
        text = f"<p>{escape(openapi_schema['info']['description'])}</p>"
        link = f'<p><a href="{escape(root)}/api/openapi.json">The OpenAPI document</a></p>'
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}: HTTP API</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"{style}</head><body><main><h1>{title}: HTTP API</h1>{text}{link}{''.join(sections)}</main></body></html>"
        ).encode()


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    head = f"<summary><b>{method.upper()}</b> <code>{escape(path)}</code></summary>"
    text = f"<p>{escape(operation.get('description') or operation.get('summary', ''))}</p>"
    rows = "".join(map(_parameter, operation.get("parameters", ())))
    parameters = f"<table><tr><th>parameter<th>in<th>type<th>meaning</tr>{rows}</table>" if rows else ""
    return f"<details>{head}{text}{parameters}{_body(operation)}{_responses(operation)}</details>"


def _parameter(parameter: dict[str, Any]) -> str:
    cells = (parameter["name"], parameter["in"], _kind(parameter.get("schema", {})), parameter.get("description", ""))
    return "<tr>" + "".join(f"<td>{escape(str(cell))}" for cell in cells) + "</tr>"


def _body(operation: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    return "".join(f"<p>body: {escape(media)}, {escape(_kind(each['schema']))}</p>" for media, each in content.items())


def _responses(operation: dict[str, Any]) -> str:
    rows = ""
    for code, response in operation.get("responses", {}).items():
        kinds = ", ".join(_kind(each.get("schema", {})) for each in response.get("content", {}).values())
        rows += f"<tr><td>{escape(code)}<td>{escape(response.get('description', ''))}<td>{escape(kinds)}</tr>"
    return f"<table><tr><th>answer<th>meaning<th>type</tr>{rows}</table>"


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "oneOf" in schema or "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema.get("oneOf", schema.get("anyOf", ())))
    kind = str(schema.get("format") or schema.get("type", "any"))
    return f"list of {_kind(schema['items'])}" if kind == "array" and "items" in schema else kind


def _with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with our errors in place of those that the framework would answer."""
    (_,), components = msgspec.json.schema_components([Problem], ref_template="#/components/schemas/{name}")
    document["components"]["schemas"].update(components)
    for item in document["paths"].values():
        for operation in item.values():
            if isinstance(operation, dict):
                operation["responses"].pop("400", None)
                operation["responses"]["default"] = _PROBLEM
    return document
