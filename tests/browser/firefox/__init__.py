"""Debian's Firefox, which programs of Node drive over WebDriver BiDi: Playwright drives only a patched one."""

import json
import subprocess
from pathlib import Path
from typing import Any

from chromium import needs

_FOLDER = Path(__file__).parent


def run_in_firefox(program: str, **settings: Any) -> Any:
    """Run a program of this folder with a Firefox of its own, and return what it gave."""
    given = {"packages": str(needs.FOLDER), "firefox": str(needs.FIREFOX), **settings}
    command = ["node", str(_FOLDER / f"{program}.mjs"), json.dumps(given)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as node:
        try:
            output, errors = node.communicate()
        finally:
            node.terminate()  # of a run that was interrupted: the program then ends its browser, as `kill` would not
    assert node.returncode == 0, errors
    return json.loads(output)
