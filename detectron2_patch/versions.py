"""What ran: the versions that a result names."""

from __future__ import annotations

import platform
import sys
from importlib import metadata

from detectron2_patch import __version__

_PACKAGES = ("torch", "torchvision", "numpy")


def collect_versions(device: str | None = None, evaluator: str = "hotcoco") -> dict[str, str]:
    """Versions of Python, the packages that matter and the evaluator; platform and device."""
    versions = {"python": platform.python_version()}
    versions.update((package, metadata.version(package)) for package in _PACKAGES)
    versions["detectron2_patch"] = __version__
    if "detectron2" in sys.modules:
        versions["detectron2"] = sys.modules["detectron2"].__version__
    versions["evaluator"] = f"{evaluator} {metadata.version(evaluator)}"
    versions["platform"] = platform.platform()
    if device is not None:
        versions["device"] = device
    return versions
