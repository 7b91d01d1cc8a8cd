"""`python -m benchmarks.browser`: what each kind of work costs in a page, in Python and in plain JavaScript."""

import random
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import BrowserContext, sync_playwright

from benchmarks.browser.document import text_of, write_document
from benchmarks.browser.scale import FULL, Scale
from benchmarks.machine import describe_machine
from benchmarks.results import Results, Row
from chromium import needs
from chromium.server import serve
from chromium.tabs import Tab, open_browser

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "browser.json"
DOCUMENT = ROOT / "docs" / "performance-browser.md"
PLAIN = "([name, ...scale]) => import('/plain.js').then((plain) => plain.measure(name, ...scale))"
UNIT = "ms"


def main() -> None:
    """Measure, and write the page."""
    if missing := needs.missing():
        sys.exit(f"the browser benchmark needs {missing}")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        package = needs.build_package(Path(folder) / "package")
        with open_browser(playwright, Path(folder) / "profile") as browser:
            results = run(browser, package, Path(folder), FULL)
    print(text_of(results))
    results.write(RESULTS)
    write_document(results, DOCUMENT)


def run(browser: BrowserContext, package: Path, folder: Path, scale: Scale) -> Results:
    """Let both do the same in one page, in a new random order each round, each round on new databases."""
    started = time.monotonic()
    server = serve(package, HERE / "programs", {"/plain.js": HERE / "plain.js"})
    tab = Tab(browser, f"{server.url}/index.html").ready()
    machine = describe_machine(folder, ("swarm-persistence",), **_versions(tab))
    measurements: dict[tuple[str, str], list[float]] = {}
    shuffle = random.Random(20260101)  # the same in every run
    for number in range(scale.rounds):
        print(f"round {number + 1} of {scale.rounds}", file=sys.stderr, flush=True)
        for peer in shuffle.sample(["swarm", "plain"], 2):
            arguments = f"{peer}-{number}", scale.calls, scale.batches, scale.records, scale.large
            times = tab.value(PLAIN, arguments) if peer == "plain" else tab.call("timings.measure", *arguments)
            for kind, milliseconds in times.items():
                measurements.setdefault((kind, peer), []).append(milliseconds)
    tab.close()
    server.close()
    rows = [Row(kind, peer, 0, times, UNIT) for (kind, peer), times in sorted(measurements.items())]
    finished_at = datetime.now(UTC).isoformat(timespec="seconds")
    return Results(scale.name, scale.rounds, finished_at, time.monotonic() - started, machine, rows)


def _versions(tab: Tab) -> dict[str, str]:
    browser: str = tab.page.evaluate("() => /Chrome\\/([\\d.]+)/.exec(navigator.userAgent)[1]")
    return {
        "Chromium": browser,
        "Pyodide": needs.PYODIDE_VERSION,
        "Python in the page": tab.call("timings.python_version"),
        "msgspec": needs.MSGSPEC_VERSION,
    }


if __name__ == "__main__":
    main()
