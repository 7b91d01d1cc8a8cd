"""The error for a call in the midst of another call of its thread, for which it would wait; of all local engines."""

from swarm_persistence.errors import OtherError


def waits_for_itself() -> OtherError:
    """Return the error for a call that a finalizer makes in the midst of another call."""
    return OtherError(
        "a finalizer, or a signal's handler, calls the storage in the midst of another call of its thread; "
        "make this call after that one"
    )
