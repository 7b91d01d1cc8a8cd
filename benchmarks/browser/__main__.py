"""`python -m benchmarks.browser`: print what each kind of work costs, in Python and in plain JavaScript."""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from chromium import needs
from chromium.server import serve
from chromium.tabs import Tab, open_browser

HERE = Path(__file__).parent
ROUNDS = 200
PLAIN = "([name, rounds]) => import('/plain.js').then((plain) => plain.measure(name, rounds))"


def measure(rounds: int = ROUNDS) -> list[tuple[str, float, float]]:
    """Return the kinds of work, and the milliseconds that each takes in Python and in plain JavaScript."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        package = needs.build_package(Path(folder) / "package")
        server = serve(package, HERE / "programs", {"/plain.js": HERE / "plain.js"})
        with open_browser(playwright, Path(folder) / "profile") as browser:
            tab = Tab(browser, f"{server.url}/index.html").ready()
            plain = tab.value(PLAIN, ["plain", rounds])
            ours = tab.call("timings.measure", "ours", rounds)
        server.close()
    return [(kind, ours[kind], plain[kind]) for kind in plain]


def table(rows: list[tuple[str, float, float]]) -> str:
    """Return the results as a table in Markdown."""
    lines = ["| ms a record, call or query | `WasmStorage` | plain JavaScript | times |", "|---|---:|---:|---:|"]
    lines += [f"| {kind} | {ours:.3f} | {plain:.3f} | {ours / plain:.1f} |" for kind, ours, plain in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    if missing := needs.missing():
        sys.exit(f"the browser benchmark needs {missing}")
    print(table(measure()))
