"""Ids within paths: how a link names one, and how a request's path is read."""

from urllib.parse import quote, unquote

_MARK = "="
"""Marks that an id follows, and not the name of a route; within an id, it is percent-encoded."""
_DOT_SEGMENTS = (".", "..")


def path_part(id: str) -> str:
    """Return an id as a part of a path."""
    # Browsers and proxies remove `.` and `..` from a path, percent-encoded or not.
    return f"{_MARK if id in _DOT_SEGMENTS else ''}{quote(id, safe='')}"


def decoded_path(raw_path: str) -> str:
    """Return a path for the router, in which a slash within a part, such as an id, and `%` stay percent-encoded.

    Of an id after `=`, each character is percent-encoded, so that it cannot name a route: `/tasks/=counts`.
    """
    return "/".join(map(_decoded, raw_path.split("/")))


def _decoded(part: str) -> str:
    if part.startswith(_MARK):
        return "".join(f"%{byte:02X}" for byte in unquote(part.removeprefix(_MARK)).encode())
    return unquote(part).replace("%", "%25").replace("/", "%2F")
