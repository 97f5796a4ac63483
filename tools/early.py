"""Imported first by every command: its streams and signals, before anything takes time."""

import sys
from pathlib import Path

from detectron2_patch.utils import process

_script = getattr(sys.modules["__main__"], "__file__", None) or ""
if Path(_script).resolve().parent == Path(__file__).resolve().parent:
    process.mend_streams()  # before --help, which ASCII terminals can't show
    process.stop_at_import()
