"""Tells by pytest's exit code whether a test has failed, or pytest itself could not run the tests."""

import re
import shlex
import sys

_LAST_LINE = re.compile(r"^exit code (\d+)\s*\Z", re.MULTILINE)
# https://docs.pytest.org/en/stable/reference/exit-codes.html: interrupted, as by an error of collection; internal
# error; usage error, as for a test that is not there; no test collected.
_WITHOUT_VERDICT = range(2, 6)


def command_of(arguments: str) -> str:
    """Return the command that runs pytest with arguments for a shell, prints its exit code last, and ends with it."""
    return f'{shlex.quote(sys.executable)} -m pytest {arguments} 2>&1; code=$?; echo "exit code $code"; exit $code'


def has_failed_test(output: str) -> bool | None:
    """Tell from the output of such a command whether a test has failed; `None` if pytest gave no verdict.

    An interpreter that crashed, or exited in the midst of a test, has failed it.
    """
    found = _LAST_LINE.search(output)
    if found is None or int(found[1]) in _WITHOUT_VERDICT:
        return None
    return int(found[1]) != 0
