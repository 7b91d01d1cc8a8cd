"""The OpenAPI document, and the page that shows it, rendered here so that it needs no script of another site."""

from typing import Any

import msgspec
from litestar import MediaType
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Server
from litestar.utils import normalize_path

from swarm_persistence import __version__
from swarm_persistence.web.access import visit_of
from swarm_persistence.web.dependencies import AnyRequest
from swarm_persistence.web.page.reference import first_sentence, reference_page
from swarm_persistence.web.problems import MEDIA_TYPE, Problem

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
    """Tell whether a path is below that of the documents, but is neither one of them nor a route of the API.

    Litestar has a page of its own there, for all callers.
    """
    normal = normalize_path(path)
    return normal.startswith(f"{_PATH}/") and normal not in _PATHS and not f"{normal}/".startswith(f"{_API}/")


def openapi_config() -> OpenAPIConfig:
    """Return the OpenAPI configuration: the paths of document and page, and the title."""
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
    """Renders the document as one of our pages."""

    def __init__(self, *, path: str) -> None:
        super().__init__(path=path, media_type=MediaType.HTML)

    def render(self, request: AnyRequest, openapi_schema: dict[str, Any]) -> bytes:
        """Return the page."""
        return reference_page(visit_of(request.scope), _with_problems(openapi_schema))


def _with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with our errors in place of the framework's, and a sentence as each operation's summary."""
    (_,), components = msgspec.json.schema_components([Problem], ref_template="#/components/schemas/{name}")
    document["components"]["schemas"].update(components)
    for item in document["paths"].values():
        for operation in item.values():
            if isinstance(operation, dict):
                operation["responses"].pop("400", None)
                operation["responses"]["default"] = _PROBLEM
                operation["summary"] = first_sentence(operation["description"])
    return document
