"""The errors of transactions that have ended, or do not end, the same on every engine."""

from swarm_persistence.errors import PoolError, TransactionError


def is_over() -> TransactionError:
    """Return the error for a call that uses a transaction after its end."""
    return TransactionError("the transaction is over already; begin a new one")


def was_open_too_long(transaction_timeout: float) -> TransactionError:
    """Return the error for a transaction that was rolled back because it was open for too long."""
    return TransactionError(
        f"the transaction was open for longer than transaction_timeout ({transaction_timeout:g} s), and was rolled "
        "back so that others can write; do the slow work before it begins"
    )


def lock_timed_out(shared: str, connection_timeout: float) -> PoolError:
    """Return the error for a transaction that timed out waiting for another one on the same `shared`."""
    return PoolError(
        f"another transaction of this {shared} was open for longer than connection_timeout "
        f"({connection_timeout:g} s); end it sooner, or raise connection_timeout"
    )
