"""Renders the OpenAPI document for people: requests and answers."""

import re
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup, escape

from swarm_persistence.web.access import Visit
from swarm_persistence.web.page.rendering import page_text

Schema = Mapping[str, Any]

_CODE = re.compile("`([^`]+)`")


def reference_page(visit: Visit, document: dict[str, Any]) -> bytes:
    """Return the page of an OpenAPI document: its operations by tag, then the types that they name."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if isinstance(operation, dict):
                groups.setdefault(operation["tags"][0], []).append({**operation, "method": method, "path": path})
    names = {
        reference: schema.get("title", reference) for reference, schema in document["components"]["schemas"].items()
    }
    text = page_text(
        visit,
        "reference.html",
        is_live=False,
        info=document["info"],
        groups=groups,
        types=sorted(document["components"]["schemas"].items(), key=lambda each: names[each[0]]),
        names=names,
        kind=lambda schema: _kind(schema, names),
        prose=_prose,
        line=_line,
    )
    return text.encode()


def first_sentence(text: str) -> str:
    """Return the part of a text before its first full stop, semicolon or colon."""
    return re.split(r"[.;:](?:\s|$)", text, maxsplit=1)[0]


def _prose(text: str) -> Markup:
    """Return paragraphs, with text in backquotes as code."""
    return Markup("").join(Markup("<p>{}</p>").format(_line(each)) for each in text.split("\n\n"))


def _line(text: str) -> Markup:
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))


def _kind(schema: Schema, names: Mapping[str, str]) -> Markup:
    """Return the name of a type, as a link if the document defines it."""
    if "$ref" in schema:
        reference = str(schema["$ref"]).rpartition("/")[2]
        return Markup('<a href="#{}">{}</a>').format(f"type-{reference}", names[reference])
    choices = schema.get("oneOf", schema.get("anyOf"))
    if choices:
        return Markup(" or ").join(_kind(each, names) for each in choices)
    kind = escape(schema.get("format") or schema.get("type", "any"))
    if kind == "array" and "items" in schema:
        return Markup("list of {}").format(_kind(schema["items"], names))
    if kind == "object" and schema.get("additionalProperties"):
        return Markup("object of {}").format(_kind(schema["additionalProperties"], names))
    return kind
