"""Makes a tool of a function: the signature becomes the argument schema, the docstring the description."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, get_type_hints

import msgspec
from mcp import types

from swarm_persistence import Storage, StorageError

Answer = dict[str, Any]
ToolFunction = Callable[..., Awaitable[Answer]]


class ToolCallError(Exception):
    """A call that failed for a reason that the caller can act on; the message says which."""


class SwarmTool:
    """A function of a storage that a client can call by name, with arguments as keywords."""

    def __init__(self, function: ToolFunction, *, is_read_only: bool, is_destructive: bool = False) -> None:
        self.name = function.__name__
        self._function = function
        self._arguments = _struct_of(function)
        self.input_schema = _schema_of(self._arguments)
        self.is_read_only = is_read_only
        self.is_destructive = is_destructive

    def description(self) -> types.Tool:
        """Return the tool's description for clients."""
        return types.Tool(
            name=self.name,
            description=inspect.getdoc(self._function),
            input_schema=self.input_schema,
            annotations=types.ToolAnnotations(
                read_only_hint=self.is_read_only, destructive_hint=self.is_destructive, open_world_hint=False
            ),
        )

    async def call(self, storage: Storage, arguments: Mapping[str, Any]) -> Answer:
        """Call the function with checked arguments.

        Raises:
            ToolCallError: an argument is missing, unknown or of the wrong type, or the storage refused the call.

        """
        try:
            checked = msgspec.convert(dict(arguments), self._arguments)
        except msgspec.ValidationError as error:
            raise ToolCallError(f"Invalid arguments of {self.name}: {error}") from error
        try:
            return await self._function(storage, **msgspec.structs.asdict(checked))
        except StorageError as error:
            raise ToolCallError(str(error)) from error


def _struct_of(function: ToolFunction) -> type[msgspec.Struct]:
    """Return a struct with a field for each parameter but the first, which is the storage."""
    hints = get_type_hints(function, include_extras=True)
    _, *parameters = inspect.signature(function).parameters.values()
    defaults = [() if each.default is each.empty else (each.default,) for each in parameters]
    fields: Any = [(each.name, hints[each.name], *default) for each, default in zip(parameters, defaults, strict=True)]
    return msgspec.defstruct(function.__name__, fields, kw_only=True, forbid_unknown_fields=True)


def _schema_of(arguments: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the JSON schema of the arguments, without references, which not every client follows."""
    schema = msgspec.json.schema(arguments)
    inlined: dict[str, Any] = schema["$defs"][arguments.__name__]
    del inlined["title"]
    return inlined
