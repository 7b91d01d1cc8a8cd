"""The long form: thousands of trials of each kind, with a closing line for each; any of them again by its seed."""

import argparse
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import NamedTuple

from torture import cuts, damage, faults, hostile, kills, tampering
from torture.trials import Trial, TrialFailedError, run_trial


class Kind(NamedTuple):
    """A kind of trial, and how many make the long form."""

    trial: Trial
    trials: int
    unit: str


KINDS = {
    "cuts": Kind(cuts.cut, 1_000, "power cuts"),
    "faults": Kind(faults.fault, 1_000, "faults of the disk"),
    "tampering": Kind(tampering.tamper, 1_000, "times tampered with"),
    "damage": Kind(damage.damage, 500, "damaged files"),
    "hostile": Kind(hostile.hostility, 100, f"times {hostile.CALLS} hostile calls"),
    "kills": Kind(kills.kill, 500 // kills.KILLS, f"times {kills.KILLS} kills"),
}

_SEEDS_PER_JOB = 20


def main() -> int:
    """Run what the command line asks for, and return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument("--kind", choices=KINDS, help="run this kind only")
    parser.add_argument("--seed", type=int, help="run the one trial of this seed")
    parser.add_argument("--first", type=int, default=1, help="the first seed (%(default)s)")
    parser.add_argument("--count", type=int, help="how many trials of each kind")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="how many at once (%(default)s)")
    options = parser.parse_args()
    failed = 0
    for name in [options.kind] if options.kind else KINDS:
        count = options.count or KINDS[name].trials
        seeds = range(options.first, options.first + count) if options.seed is None else [options.seed]
        failed += _run_kind(name, list(seeds), options.processes)
    return min(failed, 1)


def _run_kind(name: str, seeds: list[int], processes: int) -> int:
    start = time.monotonic()
    failures = 0
    for failure in _failures(name, seeds, processes):
        failures += 1
        print(f"FAILED: python -m torture --kind {name} --seed {failure}", flush=True)
    seconds = time.monotonic() - start
    broken = "no promise broken" if not failures else f"{failures} FAILED"
    print(f"{name}: {len(seeds):,} {KINDS[name].unit}, {broken}, {seconds:.0f} s", flush=True)
    return failures


def _failures(name: str, seeds: list[int], processes: int) -> Iterator[str]:
    if len(seeds) == 1:
        yield from _run_seeds(name, seeds)
        return
    jobs = [seeds[start : start + _SEEDS_PER_JOB] for start in range(0, len(seeds), _SEEDS_PER_JOB)]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for future in as_completed([pool.submit(_run_seeds, name, job) for job in jobs]):
            yield from future.result()


def _run_seeds(name: str, seeds: list[int]) -> list[str]:
    failures = []
    for seed in seeds:
        try:
            run_trial(KINDS[name].trial, seed)
        except TrialFailedError as error:
            failures.append(f"{seed}: {error}")
    return failures
