"""Runs trials by their seeds, each in a directory of its own, with a watchdog."""

import faulthandler
import logging
import os
import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Trial = Callable[[int, Path], None]
"""Does one thing that depends on a seed; raises if a promise does not hold."""

_TIMEOUT_SECONDS = 100
_IN_MEMORY = Path("/dev/shm")


class TrialFailedError(AssertionError):
    """A trial has failed: the text names its seed."""


def run_trial(trial: Trial, seed: int) -> None:
    """Run one trial. What a failed one has left is kept.

    Raises:
        TrialFailedError: it has failed.

    """
    directory = Path(tempfile.mkdtemp(prefix="torture-", dir=_IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None))
    faulthandler.dump_traceback_later(_TIMEOUT_SECONDS, exit=True, file=2)
    with _dice_of(seed), _log_silenced():
        try:
            with _threads_watched():
                trial(seed, directory)
        except BaseException as error:
            raise TrialFailedError(f"seed {seed}, files in {directory}: {_told(error)}") from error
        finally:
            faulthandler.cancel_dump_traceback_later()
    shutil.rmtree(directory)


@contextmanager
def _dice_of(seed: int) -> Iterator[None]:
    """Let what the storage itself leaves to chance follow from the seed."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


@contextmanager
def _log_silenced() -> Iterator[None]:
    """Keep back what the package logs of all that a trial does to it."""
    log = logging.getLogger("swarm_persistence")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)


@contextmanager
def _threads_watched() -> Iterator[None]:
    """Raise at the end of the block if a thread has ended by an error in it."""
    errors: list[BaseException | None] = []
    hook, threading.excepthook = threading.excepthook, lambda told: errors.append(told.exc_value)
    try:
        yield
    finally:
        threading.excepthook = hook
    if errors:
        raise AssertionError(f"a thread has ended: {errors[0]!r}") from errors[0]


def _told(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_told(each) for each in error.exceptions)
    return f"{type(error).__name__}: {error}"
