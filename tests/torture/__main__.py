"""`python -m torture`: see `long_form`."""

import sys

from torture.long_form import main

if __name__ == "__main__":
    sys.exit(main())
