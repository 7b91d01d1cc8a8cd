"""How a worker treats failed attempts: exceptions by which handlers decide, and a policy for all others."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from swarm_persistence.backoff import backoff_seconds
from swarm_persistence.durations import seconds
from swarm_persistence.errors import InvalidQueryError, shown
from swarm_persistence.query.builder import bound
from swarm_persistence.storage.leases import FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS
from swarm_persistence.worker.failures import described, members_of, reason_of


class FailTask(Exception):  # noqa: N818 - the name says what a handler asks for
    """Raised by a handler: the task fails for good, with this reason and without a retry."""


class RetryTask(Exception):  # noqa: N818 - the name says what a handler asks for
    """Raised by a handler: this attempt has failed, and the next one starts after `in_` seconds.

    It counts as a retry, and the task fails for good if none is left. Without `in_`, the delay is that of any failure.
    """

    seconds: float | None = None  # also for a subclass that does not call `__init__`

    def __init__(self, reason: str = "the handler asked for a retry", *, in_: float | timedelta | None = None) -> None:
        super().__init__(reason)
        self.seconds = None if in_ is None else seconds(in_, "in_", is_zero_possible=True)


class SnoozeTask(Exception):  # noqa: N818 - the name says what a handler asks for
    """Raised by a handler: the task is given back for `in_` seconds, which counts no retry."""

    seconds: float = FIRST_RETRY_SECONDS  # also for a subclass that does not call `__init__`

    def __init__(self, *, in_: float | timedelta) -> None:
        super().__init__(f"in {in_} s")
        self.seconds = seconds(in_, "in_", is_zero_possible=True)


DECISIONS = (FailTask, RetryTask, SnoozeTask)
"""The exceptions by which a handler decides."""


def decision_of(error: BaseException) -> BaseException:
    """Return the exception that decides the task's outcome; that of a group is decided by its members.

    One `FailTask` fails the task for good. A group of nothing but `RetryTask`, `SnoozeTask` and cancellations counts a
    retry if it has a `RetryTask`, and the longest delay applies. Any other group is a failure.
    """
    members = [_checked(each) for each in members_of(error)]
    if len(members) == 1 and isinstance(members[0], DECISIONS):
        return members[0]
    if any(isinstance(each, FailTask) for each in members):
        return FailTask(described(error))
    refused = [each for each in members if isinstance(each, InvalidQueryError)]
    later = [each for each in members if isinstance(each, RetryTask | SnoozeTask)]
    if not later or len(later) < len(members):
        return refused[0] if refused and len(refused) + len(later) == len(members) else error
    delays = [each.seconds for each in later if each.seconds is not None]
    if not any(isinstance(each, RetryTask) for each in later):
        return SnoozeTask(in_=max(delays))
    return RetryTask(described(error), in_=max(delays, default=None))


def _checked(error: BaseException) -> BaseException:
    """Return the handler's exception, or an error if its delay is invalid, as a subclass may set any."""
    try:
        if isinstance(error, SnoozeTask) or (isinstance(error, RetryTask) and error.seconds is not None):
            seconds(error.seconds, "seconds", is_zero_possible=True)
    except InvalidQueryError as refusal:
        return refusal
    return error


class Failure(NamedTuple):
    """How a failed attempt is recorded: the arguments of `fail_task`."""

    error: str
    retry_in: float | None
    max_retries: int | None


class RetryPolicy:
    """How often, when and after which exceptions a worker retries a task."""

    def __init__(
        self,
        *,
        max_retries: int | None = None,
        first: float | timedelta = FIRST_RETRY_SECONDS,
        longest: float | timedelta = LONGEST_RETRY_SECONDS,
        jitter: float = 0.5,
        final: tuple[type[BaseException], ...] = (),
    ) -> None:
        """Set up a policy.

        `max_retries` replaces the task's own limit. The delay is `first` seconds, doubled with each retry up to
        `longest`, varied by the fraction `jitter` either way. An exception of the types `final` fails the task
        for good.

        Raises:
            InvalidQueryError: an argument is invalid; the message names it.

        """
        self.max_retries = None if max_retries is None else bound("max_retries", max_retries)
        self._first, self._longest = seconds(first, "first"), seconds(longest, "longest")
        is_part = isinstance(jitter, int | float) and not isinstance(jitter, bool) and 0 <= jitter <= 1
        if not is_part:
            raise InvalidQueryError(f"jitter is {shown(jitter)}, expected a number from 0 to 1")
        self._jitter = jitter
        types = final if isinstance(final, tuple) else (final,)
        for place, each in enumerate(types):
            if not (isinstance(each, type) and issubclass(each, BaseException)):
                raise InvalidQueryError(f"final[{place}] is {shown(each)}, expected a class of exceptions")
        self._final = types

    def failure(self, error: BaseException | str, retry_count: int) -> Failure:
        """Return how to record an exception of a handler, or the reason why it ended without one."""
        if isinstance(error, FailTask):
            return Failure(reason_of(error) or "the handler has failed the task", None, 0)
        if isinstance(error, BaseException) and any(
            isinstance(each, self._final) for each in (error, *members_of(error))
        ):
            return Failure(described(error), None, 0)
        delay = backoff_seconds(retry_count + 1, self._first, self._longest, self._jitter)
        if isinstance(error, RetryTask):
            return Failure(reason_of(error), delay if error.seconds is None else error.seconds, self.max_retries)
        text = error if isinstance(error, str) else described(error)
        return Failure(text, delay, self.max_retries)


def policies_by_type(retries: object, task_types: Mapping[str, Any]) -> dict[str, RetryPolicy]:
    """Return the policy of each type, given one for all or a dict of some; raise `InvalidQueryError` otherwise."""
    if retries is None or isinstance(retries, RetryPolicy):
        return dict.fromkeys(task_types, retries or RetryPolicy())
    if not isinstance(retries, Mapping):
        raise InvalidQueryError(
            f"retries is {shown(retries)}, expected a RetryPolicy, or a dict from task types to them"
        )
    for task_type, policy in retries.items():
        if task_type not in task_types:
            raise InvalidQueryError(f"retries: {shown(task_type)} is a task type without a handler")
        if not isinstance(policy, RetryPolicy):
            raise InvalidQueryError(f"retries[{task_type!r}] is {shown(policy)}, expected a RetryPolicy")
    return {task_type: retries.get(task_type) or RetryPolicy() for task_type in task_types}
