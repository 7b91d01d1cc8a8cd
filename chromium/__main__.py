"""`python -m chromium`: bring what it takes to run the package in a browser, and say what could not be had."""

import sys

from chromium import needs

needs.install()
if missing := needs.missing():
    sys.exit(f"still missing: {missing}")
