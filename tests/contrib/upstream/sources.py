"""The source distributions that hold the frameworks' tests: brought once, at the version that is installed."""

import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

KEPT = Path(sys.prefix) / "upstream"
"""In the virtual environment, so that it goes with it."""


def source_tree(name: str) -> Path:
    """Return the unpacked source distribution of an installed package."""
    tree = KEPT / f"{name.replace('-', '_')}-{version(name)}"
    if tree.exists():
        return tree
    KEPT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=KEPT) as scratch:
        wanted = ("--no-deps", "--no-binary", name, f"{name}=={version(name)}")
        bring = (sys.executable, "-m", "pip", "download", "--quiet", "--dest", scratch, *wanted)
        subprocess.run(bring, check=True, timeout=300)
        (archive,) = Path(scratch).glob("*.tar.gz")
        with tarfile.open(archive) as unpacked:
            # The earliest releases of Python 3.11, such as Debian 12's, have no filters.
            unpacked.extraction_filter = getattr(tarfile, "data_filter", None)
            unpacked.extractall(scratch)
        (found,) = (each for each in Path(scratch).iterdir() if each.is_dir())
        try:
            found.rename(tree)
        except OSError:
            if not tree.exists():  # else another process of the tests was faster
                raise
    return tree
