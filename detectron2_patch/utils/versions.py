"""What ran: the versions that a result names."""

from __future__ import annotations

import platform
from importlib import metadata

from detectron2_patch.version import __version__

_PACKAGES = ("torch", "torchvision", "numpy")


def collect_versions(
    device: str | None = None, evaluator: str = "hotcoco", engine: str = "torchvision"
) -> dict[str, str]:
    """Versions of Python, the packages that matter and the evaluator; platform and device.

    detectron2's is among them where ``engine`` is detectron2, not wherever it is imported.
    """
    versions = {"python": platform.python_version()}
    versions.update((package, metadata.version(package)) for package in _PACKAGES)
    versions["detectron2_patch"] = __version__
    if engine == "detectron2":
        versions["detectron2"] = metadata.version("detectron2")
    versions["evaluator"] = f"{evaluator} {metadata.version(evaluator)}"
    versions["platform"] = platform.platform()
    if device is not None:
        versions["device"] = device
    return versions
