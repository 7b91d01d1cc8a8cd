"""`python -m mutation`: try a random sample of mutants, and print the score and what survived."""

import argparse
import platform
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from mutation.line_tests import TESTS, LineTests, measure
from mutation.mutants import FOLDERS, sample_of_mutants
from mutation.trials import KILLED, TIMED_OUT, UNCLEAR, Copies, Trial


def main() -> None:
    """Measure in copies of the files that git tracks, so that an interruption leaves no mutant behind."""
    parser = argparse.ArgumentParser(prog="mutation", description=__doc__)
    parser.add_argument("--size", type=int, default=120, help="how many mutants to try (120)")
    parser.add_argument("--seed", type=int, default=1, help="of the sample, and of the choice of tests (1)")
    parser.add_argument("--tests", type=int, default=60, help="at most so many of the tests that execute a line (60)")
    parser.add_argument("--workers", type=int, default=2, help="how many mutants to try at a time (2)")
    parser.add_argument(
        "--timeout", type=float, default=120, help="seconds after which a mutant counts as killed (120)"
    )
    parser.add_argument(
        "--folders",
        nargs="+",
        type=Path,
        choices=FOLDERS,
        default=FOLDERS,
        metavar="FOLDER",
        help=f"mutate these ({' '.join(map(str, FOLDERS))})",
    )
    parser.add_argument(
        "--only", nargs="+", default=TESTS, metavar="TESTS", help=f"measure these files' coverage ({' '.join(TESTS)})"
    )
    parser.add_argument(
        "--coverage",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="measure nothing, but read what earlier runs of the same code left in TREE/tree/.coverage",
    )
    parser.add_argument(
        "--tree", type=Path, help="an empty folder for the copies (a temporary one); with --size 0, for coverage alone"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mutation-") as temporary:
        tree = (arguments.tree or Path(temporary)).resolve() / "tree"
        _copy_tracked_files(tree)
        mutants, places = sample_of_mutants(tree, arguments.folders, arguments.size, arguments.seed)
        covered = arguments.coverage or [measure(tree, arguments.only, arguments.workers)]
        tests = LineTests(covered)
        copies = Copies(tree, arguments.workers)
        with ThreadPoolExecutor(arguments.workers) as executor:
            trials = executor.map(
                lambda mutant: copies.try_mutant(
                    mutant,
                    tests.of(
                        mutant.module_path.relative_to(tree), mutant.start_pos[0], arguments.tests, arguments.seed
                    ),
                    arguments.timeout,
                ),
                mutants,
            )
            print(f"{len(mutants)} of {places} places, seed {arguments.seed}, at most {arguments.tests} tests a mutant")
            print(f"Python {platform.python_version()}, Cosmic Ray {version('cosmic-ray')}\n")
            _report([_shown(trial) for trial in trials], arguments.folders)


def _copy_tracked_files(tree: Path) -> None:
    # Into a clone: some tests run code of earlier commits.
    subprocess.run(["git", "clone", "--quiet", "--shared", "--no-checkout", ".", tree], check=True)
    listed = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(name, tree / name)


def _shown(trial: Trial) -> Trial:
    print(f"{trial.outcome:>14}  {trial.place}  {trial.operator}", flush=True)
    return trial


def _report(trials: Sequence[Trial], folders: Sequence[Path]) -> None:
    for trial in trials:
        if trial.outcome not in (KILLED, TIMED_OUT):
            print(f"\n{trial.outcome}: {trial.place} {trial.operator}\n{trial.difference}")
    print()
    for folder in folders:
        _print_score(str(folder), [trial for trial in trials if trial.place.startswith(f"{folder}/")])
    _print_score("together", trials)


def _print_score(name: str, trials: Sequence[Trial]) -> None:
    counts = Counter(trial.outcome for trial in trials)
    judged = len(trials) - counts[UNCLEAR]
    found = counts[KILLED] + counts[TIMED_OUT]
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    print(f"{name}: {found} of {judged} found ({found / max(judged, 1):.0%}); {outcomes}")


main()
