"""Values in JSON's types, and a digest of what they mean."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np


def json_value(value: Any) -> Any:
    """``value`` ready for JSON: tuples as lists, paths as text, NaN and infinities as None."""
    return _convert(value, lambda number: number if math.isfinite(number) else None)


def digest(value: Any) -> str:
    """SHA-256 that depends neither on the order of keys nor on 4 or 4.0, a list or a tuple."""
    plain = _convert(value, lambda number: int(number) if number.is_integer() else number)
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _convert(value: Any, number: Callable[[float], Any]) -> Any:
    """``value`` in JSON's types, each float as ``number`` gives it."""
    if isinstance(value, Mapping):
        return {str(key): _convert(entry, number) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_convert(entry, number) for entry in value]
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return number(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise TypeError(f"{value!r} has no form in JSON")
