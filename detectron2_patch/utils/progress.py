"""Progress with time left, on stderr."""

from __future__ import annotations

import sys

from tqdm import tqdm

from detectron2_patch.utils import process


def progress(*args, **options) -> tqdm:
    """A tqdm bar that shows after a second, and writes few lines where no one watches."""
    options["disable"] = process.is_quiet() or options.get("disable", False)
    interval = 0.2 if sys.stderr.isatty() else 15
    return tqdm(*args, delay=1, mininterval=interval, **options)
