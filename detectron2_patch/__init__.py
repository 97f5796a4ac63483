"""Which levels of a detector's feature pyramid matter, and how little of it has to be sent."""

from typing import TYPE_CHECKING

from detectron2_patch.version import __version__

_HOMES = {
    "InputError": "errors",
    "LEVELS": "settings.levels",
    "Restored": "settings.treatments",
    "Sent": "settings.treatments",
    "Setting": "settings.setting",
    "evaluate": "pipeline",
    "fit": "codec.calibration",
    "key_levels": "analysis.key_levels",
    "load_demo": "detectors",
    "load_detector": "detectors",
    "load_results": "results.file",
    "parse_setting": "settings.parsing",
    "patch_pyramid": "patch",
    "patch_rpn": "patch",
    "read_fitted": "codec.fitted",
    "read_table": "report.table",
    "receive_pyramid": "codec.transmission",
    "send_pyramid": "codec.transmission",
}
__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:  # what an editor completes
    from detectron2_patch.analysis.key_levels import key_levels as key_levels
    from detectron2_patch.codec.calibration import fit as fit
    from detectron2_patch.codec.fitted import read_fitted as read_fitted
    from detectron2_patch.codec.transmission import receive_pyramid as receive_pyramid
    from detectron2_patch.codec.transmission import send_pyramid as send_pyramid
    from detectron2_patch.detectors import load_demo as load_demo
    from detectron2_patch.detectors import load_detector as load_detector
    from detectron2_patch.errors import InputError as InputError
    from detectron2_patch.patch import patch_pyramid as patch_pyramid
    from detectron2_patch.patch import patch_rpn as patch_rpn
    from detectron2_patch.pipeline import evaluate as evaluate
    from detectron2_patch.report.table import read_table as read_table
    from detectron2_patch.results.file import load_results as load_results
    from detectron2_patch.settings.levels import LEVELS as LEVELS
    from detectron2_patch.settings.parsing import parse_setting as parse_setting
    from detectron2_patch.settings.setting import Setting as Setting
    from detectron2_patch.settings.treatments import Restored as Restored
    from detectron2_patch.settings.treatments import Sent as Sent


def __getattr__(name: str):
    """Import the public functions when they are first used: torch takes seconds to import."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
