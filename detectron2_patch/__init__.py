"""Which levels of a detector's feature pyramid matter, and how little of it has to be sent."""

__version__ = "0.1.0"
_HOMES = {
    "patch_pyramid": "patch",
    "patch_rpn": "patch",
    "Setting": "settings.setting",
    "Sent": "settings.treatments",
    "Restored": "settings.treatments",
    "LEVELS": "settings.levels",
    "InputError": "errors",
    "evaluate": "pipeline",
    "fit": "codec.calibration",
    "key_levels": "analysis.key_levels",
    "load_results": "results.file",
    "parse_setting": "settings.parsing",
    "read_fitted": "codec.fitted",
    "send_pyramid": "codec.transmission",
    "receive_pyramid": "codec.transmission",
    "read_table": "report.table",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str):
    """Import the public functions when they are first used: torch takes seconds to import."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
