"""Judges what is stored after an accident by what the callers were told."""

from collections.abc import Iterable, Sequence

from torture.history import ABSENT, Answer, Expected, History, Key, RecordedWrite, State, Stored


class BrokenPromiseError(AssertionError):
    """Something that was promised to a caller does not hold."""


def require_all(histories: Iterable[History], stored: Stored, *, refusals_hold: bool) -> None:
    """Require what `durability="full"` promises: what was acknowledged is there, and nothing is half applied.

    Without `refusals_hold`, a write that was refused may be there all the same: the power went before the caller could
    learn what became of it.
    """
    known: set[Key] = set()
    for history in histories:
        state: dict[Key, Expected] = {}
        for write in history.writes:
            known |= write.keys
            is_open = _is_open(write, refusals_hold=refusals_hold)
            if write.answer is Answer.STORED:
                state |= write.outcomes[-1]
            elif is_open:
                _require_whole(history, write, state, stored)
                # What its actor leaves alone from now on; that it is whole was just seen.
                for key in write.keys:
                    state.pop(key, None)
        open_keys = _open_keys(history, refusals_hold=refusals_hold)
        for key, expected in state.items():
            if key not in open_keys and not expected.fits(stored.get(key)):
                raise BrokenPromiseError(
                    f"{history.name}: {key} was acknowledged as\n  {expected.record}\n"
                    f"and stored is\n  {stored.get(key)}\nwrites: {_about(history, key)}"
                )
        for key in {key for write in history.writes for key in write.keys} - state.keys() - open_keys:
            if key in stored:
                raise BrokenPromiseError(
                    f"{history.name}: {key} was refused, and is stored; writes: {_about(history, key)}"
                )
    _refuse_strangers(known, stored)


def require_prefix(histories: Sequence[History], stored: Stored) -> None:
    """Require what `durability="normal"` promises: what is there is what was committed up to some moment."""
    _refuse_strangers({key for history in histories for write in history.writes for key in write.keys}, stored)
    present: list[RecordedWrite] = []
    missing: list[RecordedWrite] = []
    for history in histories:
        counts = _fitting_prefixes(history, stored)
        if not counts:
            raise BrokenPromiseError(f"{history.name}: what is stored is not a state that it ever had")
        # Some writes change nothing, and do not tell whether they are there.
        present += history.writes[: counts[0]]
        missing += history.writes[counts[-1] :]
    latest = max((write.submitted_at for write in present), default=0)
    for write in missing:
        if write.answer is Answer.STORED and write.answered_at is not None and write.answered_at < latest:
            raise BrokenPromiseError(f"{write} is lost, though a later write is there")


def _require_whole(history: History, write: RecordedWrite, before: State, stored: Stored) -> None:
    outcomes = [_whole(write, outcome, before) for outcome in ({}, *write.outcomes)]
    if any(all(expected.fits(stored.get(key)) for key, expected in outcome.items()) for outcome in outcomes):
        return
    if not write.is_atomic and all(any(o[key].fits(stored.get(key)) for o in outcomes) for key in write.keys):
        return
    found = {key: stored.get(key) for key in write.keys}
    raise BrokenPromiseError(f"{history.name}: half applied: {write}\nfound {found}\nexpected one of {outcomes}")


def _whole(write: RecordedWrite, outcome: State, before: State) -> dict[Key, Expected]:
    return {key: outcome.get(key, before.get(key, ABSENT)) for key in write.keys}


def _open_keys(history: History, *, refusals_hold: bool) -> set[Key]:
    return {key for write in history.writes if _is_open(write, refusals_hold=refusals_hold) for key in write.keys}


def _is_open(write: RecordedWrite, *, refusals_hold: bool) -> bool:
    """Tell whether it may be stored or not; one that is not atomic may have been refused half-way."""
    return write.answer is Answer.UNKNOWN or (
        write.answer is Answer.REFUSED and not (refusals_hold and write.is_atomic)
    )


def _fitting_prefixes(history: History, stored: Stored) -> list[int]:
    """Return how many of the writes may have led to what is stored; a part of one that is not atomic counts."""
    own = {key for write in history.writes for key in write.keys}
    states: list[dict[Key, Expected]] = [dict.fromkeys(own, ABSENT)]
    fitting: list[int] = []
    for count, write in enumerate([None, *history.writes]):
        successors = (
            states if write is None else [{**state, **outcome} for state in states for outcome in write.outcomes]
        )
        if write is not None and write.answer is not Answer.STORED:
            successors += states
        is_whole = any(all(each.fits(stored.get(key)) for key, each in state.items()) for state in successors)
        may_be_part = write is not None and not write.is_atomic
        if is_whole or (may_be_part and _is_between(states, successors, stored)):
            fitting.append(count)
        states = successors
    return fitting


def _is_between(befores: Sequence[State], afters: Sequence[State], stored: Stored) -> bool:
    return any(
        all(before[key].fits(stored.get(key)) or after[key].fits(stored.get(key)) for key in before)
        for before in befores
        for after in afters
    )


def _refuse_strangers(known: set[Key], stored: Stored) -> None:
    for key in stored:
        if key not in known:
            raise BrokenPromiseError(f"{key} is stored, and was never written")


def _about(history: History, key: Key) -> str:
    return "; ".join(str(write) for write in history.writes if key in write.keys)


def require_same(expected: Stored, stored: Stored) -> None:
    """Require that nothing has changed."""
    for key in expected.keys() | stored.keys():
        if expected.get(key) != stored.get(key):
            raise BrokenPromiseError(f"{key} was\n  {expected.get(key)}\nand is\n  {stored.get(key)}")
