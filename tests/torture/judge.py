"""Judges what is stored after an accident by what the callers were told."""

from collections.abc import Iterable, Sequence

from torture.acts import ABSENT, Act, Answer, Expected, History, Key, State, Stored


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
        for act in history.acts:
            known |= act.keys
            is_open = _is_open(act, refusals_hold=refusals_hold)
            if act.answer is Answer.STORED:
                state |= act.outcomes[-1]
            elif is_open:
                _require_whole(history, act, state, stored)
                # What its actor leaves alone from now on; that it is whole was just seen.
                for key in act.keys:
                    state.pop(key, None)
        open_keys = _open_keys(history, refusals_hold=refusals_hold)
        for key, expected in state.items():
            if key not in open_keys and not expected.fits(stored.get(key)):
                raise BrokenPromiseError(
                    f"{history.name}: {key} was acknowledged as\n  {expected.record}\n"
                    f"and stored is\n  {stored.get(key)}\nacts: {_about(history, key)}"
                )
        for key in {key for act in history.acts for key in act.keys} - state.keys() - open_keys:
            if key in stored:
                raise BrokenPromiseError(
                    f"{history.name}: {key} was refused, and is stored; acts: {_about(history, key)}"
                )
    _refuse_strangers(known, stored)


def require_prefix(histories: Sequence[History], stored: Stored) -> None:
    """Require what `durability="normal"` promises: what is there is what was committed up to some moment."""
    _refuse_strangers({key for history in histories for act in history.acts for key in act.keys}, stored)
    present: list[Act] = []
    missing: list[Act] = []
    for history in histories:
        counts = _fitting_prefixes(history, stored)
        if not counts:
            raise BrokenPromiseError(f"{history.name}: what is stored is no state that it ever had")
        # Some acts change nothing, and do not tell whether they are there.
        present += history.acts[: counts[0]]
        missing += history.acts[counts[-1] :]
    latest = max((act.submitted_at for act in present), default=0)
    for act in missing:
        if act.answer is Answer.STORED and act.answered_at is not None and act.answered_at < latest:
            raise BrokenPromiseError(f"{act} is lost, though a later write is there")


def _require_whole(history: History, act: Act, before: State, stored: Stored) -> None:
    outcomes = [_whole(act, outcome, before) for outcome in ({}, *act.outcomes)]
    if any(all(expected.fits(stored.get(key)) for key, expected in outcome.items()) for outcome in outcomes):
        return
    if not act.is_atomic and all(any(o[key].fits(stored.get(key)) for o in outcomes) for key in act.keys):
        return
    found = {key: stored.get(key) for key in act.keys}
    raise BrokenPromiseError(f"{history.name}: half applied: {act}\nfound {found}\nexpected one of {outcomes}")


def _whole(act: Act, outcome: State, before: State) -> dict[Key, Expected]:
    return {key: outcome.get(key, before.get(key, ABSENT)) for key in act.keys}


def _open_keys(history: History, *, refusals_hold: bool) -> set[Key]:
    return {key for act in history.acts if _is_open(act, refusals_hold=refusals_hold) for key in act.keys}


def _is_open(act: Act, *, refusals_hold: bool) -> bool:
    """Tell whether it may be stored or not; one that is not atomic may have been refused half-way."""
    return act.answer is Answer.UNKNOWN or (act.answer is Answer.REFUSED and not (refusals_hold and act.is_atomic))


def _fitting_prefixes(history: History, stored: Stored) -> list[int]:
    """Return how many of the acts may have led to what is stored; a part of one that is not atomic counts."""
    own = {key for act in history.acts for key in act.keys}
    states: list[dict[Key, Expected]] = [dict.fromkeys(own, ABSENT)]
    fitting: list[int] = []
    for count, act in enumerate([None, *history.acts]):
        successors = states if act is None else [{**state, **outcome} for state in states for outcome in act.outcomes]
        if act is not None and act.answer is not Answer.STORED:
            successors += states
        is_whole = any(all(each.fits(stored.get(key)) for key, each in state.items()) for state in successors)
        may_be_part = act is not None and not act.is_atomic
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
    return "; ".join(str(act) for act in history.acts if key in act.keys)


def require_same(expected: Stored, stored: Stored) -> None:
    """Require that nothing has changed."""
    for key in expected.keys() | stored.keys():
        if expected.get(key) != stored.get(key):
            raise BrokenPromiseError(f"{key} was\n  {expected.get(key)}\nand is\n  {stored.get(key)}")
