"""The server on which the blocking form is tried beside the local engines."""

from postgres.conftest import server

__all__ = ["server"]
