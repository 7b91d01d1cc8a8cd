"""What every engine says of a transaction that has ended, or that does not end."""

from swarm_persistence.errors import PoolError, TransactionError


def is_over() -> TransactionError:
    """Return the error for whoever uses a transaction after its end."""
    return TransactionError("the transaction is over already; begin a new one")


def was_open_too_long(transaction_timeout: float) -> TransactionError:
    """Return the reason of a transaction that was rolled back because its time was up."""
    return TransactionError(
        f"the transaction was open for longer than transaction_timeout ({transaction_timeout:g} s), and was rolled "
        "back so that others can write; do the slow work before it begins"
    )


def got_no_turn(shared: str, connection_timeout: float) -> PoolError:
    """Return the error for whoever has waited in vain for another transaction on what the two share."""
    return PoolError(
        f"another transaction of this {shared} was open for longer than connection_timeout "
        f"({connection_timeout:g} s); end it sooner, or raise connection_timeout"
    )
