"""detectron2's keys with their defaults, and a walk over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

DEFAULTS = Path(__file__).parent / "defaults.yaml"


def get_cfg() -> CfgNode:
    """A fresh configuration with detectron2's keys and defaults."""
    return _defaults().clone()


def key_values(cfg: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with its dots, and its value."""
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            yield from key_values(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def add_keys(add: Callable[[Any], Any]) -> None:
    """Let ``add(cfg)``, as detectron2's projects have it, put its keys among the known ones.

    ``added`` has it for the configuration of detectron2 itself.
    """
    add(_defaults())
    added.append(add)
    default_values.cache_clear()


added: list[Callable[[Any], Any]] = []


@cache
def default_values() -> dict[str, Any]:
    """The default of every key with its dots; not to be written into."""
    return dict(key_values(_defaults()))


@cache
def _defaults() -> CfgNode:
    raw = yaml.safe_load(DEFAULTS.read_text(encoding="utf-8"))
    return CfgNode(_decode_tuples(raw))


def _decode_tuples(value: Any) -> Any:
    """Text in parentheses to the tuple that it spells, everywhere below."""
    if isinstance(value, dict):
        return {key: _decode_tuples(entry) for key, entry in value.items()}
    return CfgNode._decode_cfg_value(value) if str(value).startswith("(") else value
