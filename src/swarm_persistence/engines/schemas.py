"""The names of schemas: the parts of one database that each hold a swarm of their own."""

import re

from swarm_persistence.errors import OtherError, shown

DEFAULT_SCHEMA = "swarm"
"""The name of the schema of a database that was opened without one."""

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


def require_name(name: object) -> None:
    """Raise `OtherError` for a name that no schema can have."""
    expected = ""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        expected = "a name of lower-case letters, digits and _, 63 at most, not first a digit"
    elif name.startswith("pg_"):
        expected = "a name that does not begin with pg_"
    if expected:
        raise OtherError(f"schema is {shown(name)}, expected {expected}")
