"""detectron2's YAML configuration, read without detectron2."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from detectron2_patch.config.defaults import default_values, get_cfg, key_values
from detectron2_patch.config.reading import (
    VERSION,
    one_line,
    read_values,
    shorten,
    unknown_key,
)
from detectron2_patch.errors import InputError

__all__ = ["get_cfg", "key_values", "load_cfg", "result_relevant"]

TYPES = {
    bool: "True or False",
    int: "a whole number",
    float: "a number with a point, such as 1.0",
    str: "text",
    list: "a list",
    tuple: "a list",
    type(None): "a number with a point, or null",
}


def load_cfg(config_file: str | Path | None, opts: Sequence[str] = ()) -> CfgNode:
    """Defaults, then ``config_file`` on top of its ``_BASE_`` files, then ``KEY VALUE`` pairs.

    Raises:
        InputError: a file that can't be read as a configuration, an unknown key, a value of the
            wrong type, or a key without a value.
    """
    cfg = get_cfg()
    if config_file is not None:
        for key, (value, path) in read_values(config_file, cfg).items():
            _set(cfg, key, value, f"{path}: {key} is {shorten(repr(value))}")
    if len(opts) % 2:
        raise one_line(f"override {opts[-1]!r} has no value; overrides are KEY VALUE pairs")
    for key, value in zip(opts[::2], opts[1::2]):
        if key not in default_values():
            raise one_line(unknown_key(key))
        _set(cfg, key, value, f"override {key} {shorten(value)}")
    if cfg.VERSION != VERSION:
        raise InputError(
            f"VERSION is {cfg.VERSION!r}; only version {VERSION} of detectron2's keys is read"
        )
    return cfg


def _set(cfg: CfgNode, key: str, value: Any, what: str) -> None:
    """Set one key by yacs's rules, which are detectron2's.

    Text is read as a Python literal where it is one (``1e-4``, ``(800,)``), lists and tuples
    turn into each other, null fits anywhere, and no other type gives way, integers for floats
    neither.
    """
    try:
        # A copy, or keys that share a YAML alias would share a list.
        cfg.merge_from_list([key, copy.deepcopy(value)])
    except (ValueError, TypeError, AssertionError, MemoryError, RecursionError) as error:
        # TypeError: an unhashable key of a literal; the last two: one nested too deeply.
        wanted = TYPES[type(default_values()[key])]
        raise one_line(f"{what}; {key} takes {wanted}") from error


def result_relevant(cfg: CfgNode) -> dict[str, Any]:
    """The keys, with dots, that can change the outcome of an evaluation: what a result's name
    hashes. Every key counts unless it is known not to: those of other parts than Faster R-CNN's
    (masks, cascades) count where the configuration asks for such a part."""
    from detectron2_patch.config.support import (
        TOOLS,
        TRAINING,
        check_supported,
        matches,
        unused,
    )

    ignored: tuple[str, ...] = TOOLS + TRAINING
    try:
        check_supported(cfg, training=False)
        ignored += () if cfg.MODEL.MASK_ON else unused(cfg)  # all, as results had it from the start
    except InputError:
        pass
    return {k: v for k, v in key_values(cfg) if not matches(k, ignored)}
