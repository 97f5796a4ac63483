"""Modules of the user's own, which register parts of a detector and add keys."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from detectron2_patch.config.defaults import add_keys
from detectron2_patch.errors import InputError

_done: set[str] = set()


def import_modules(names: Sequence[str]) -> None:
    """Import modules, found as from the working folder; each once.

    What they register with detectron2 is then known by its name, and a function ``add_config`` or
    ``add_…_config`` of theirs is called with the configuration, as detectron2's projects have it,
    and adds its keys.

    Raises:
        InputError: a module that can't be imported, or whose function fails.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    for name in names:
        if name in _done:
            continue
        try:
            module = import_module(name)
            for function in vars(module).values():
                if callable(function) and _adds_keys(getattr(function, "__name__", "")):
                    add_keys(function)
        except Exception as error:  # whatever a module of the user's does
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"--import {name}: {type(error).__name__}: {reason}; give a module as Python "
                "imports it from here, such as my_project.modeling"
            ) from error
        _done.add(name)


def _adds_keys(name: str) -> bool:
    return name == "add_config" or (name.startswith("add_") and name.endswith("_config"))
