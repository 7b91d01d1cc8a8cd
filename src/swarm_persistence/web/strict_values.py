"""Takes values of requests strictly: Litestar would convert numbers to bools, and texts to numbers."""

from functools import lru_cache
from typing import Any

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.exceptions import ValidationException
from litestar.handlers import BaseRouteHandler
from litestar.params import ParameterKwarg

from swarm_persistence.errors import shown
from swarm_persistence.web.problems import HttpProblem

_FLAGS = ("true", "false")


class StrictRequest(Request[Any, Any, Any]):
    """A request whose JSON has to have the types that the handler declares."""

    async def json(self) -> Any:
        """Return the body as the type of the handler's `data`, if it has one."""
        value = await super().json()
        field = self.route_handler.parsed_data_field
        if field is None:
            return value
        try:
            return msgspec.convert(value, field.annotation, str_keys=True)
        except msgspec.ValidationError as error:
            reason, _, place = str(error).partition(" - at `$")
            fault = {"message": reason, "key": place.rstrip("`").lstrip(".") or "body"}
            raise ValidationException(str(error), extra=[fault]) from error


def require_flags(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Refuse a boolean query parameter whose value is not `true` or `false`."""
    for name in _flags_of(handler):
        for text in connection.query_params.getall(name, ()):
            if text not in _FLAGS:
                raise HttpProblem(422, f"{name} is {shown(text)}, expected {' or '.join(_FLAGS)}")


@lru_cache(maxsize=512)
def _flags_of(handler: BaseRouteHandler) -> tuple[str, ...]:
    fields = handler.parsed_fn_signature.parameters.values()
    return tuple(
        field.kwarg_definition.name or field.name
        for field in fields
        if field.annotation is bool and isinstance(field.kwarg_definition, ParameterKwarg)
    )
