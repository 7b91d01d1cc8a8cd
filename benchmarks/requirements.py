"""What a measured peer must have done for its figure to count; imports nothing, as a measured process must not."""


class BenchmarkError(Exception):
    """A peer did something else than it was asked to; its figure would be worth nothing."""


def require(is_met: bool, what: str) -> None:
    """Stop the run if a peer's work is not what it was asked to do."""
    if not is_met:
        raise BenchmarkError(what)
