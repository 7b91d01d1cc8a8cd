"""Runs the command line: `python -m swarm_persistence`."""

import sys

from swarm_persistence.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
