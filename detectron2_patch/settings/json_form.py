"""A setting as results hold it, in JSON's types, and back.

Plain ratios are ``cr`` and ``scope`` alone. Other keys are there only where they say something:
``send`` (``cr`` of a level that isn't sent is None), ``restore``, ``rank``, ``bits``, ``range``,
``level_codec`` (by level), ``pyramid``, ``image``, ``fitted`` (SHA-256).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from detectron2_patch.errors import InputError
from detectron2_patch.settings.codecs import (
    ImageCodec,
    LevelCodec,
    PyramidCodec,
    codec_from_json,
)
from detectron2_patch.settings.levels import MAX, check_levels, ratio_to_json
from detectron2_patch.settings.parsing import DEFAULT_RANGE
from detectron2_patch.settings.registry import IMAGE_CODECS, LEVEL_CODECS, PYRAMID_CODECS
from detectron2_patch.settings.treatments import Restored, Sent, Treatment, is_sent


def treatments_to_json(treatments: Mapping[str, Treatment]) -> dict[str, Any]:
    """All keys of a setting but ``scope`` and ``fitted``."""
    ratios = {level: one.ratio for level, one in treatments.items() if isinstance(one, Sent)}
    sent = [level for level, one in treatments.items() if is_sent(one)]
    setting: dict[str, Any] = {
        "cr": {
            level: ratio_to_json(ratios.get(level, 1.0)) if level in sent else None
            for level in treatments
        }
    }
    if len(sent) < len(treatments):
        setting["send"] = sent
        setting["restore"] = {
            level: _restored_to_json(one)
            for level, one in treatments.items()
            if isinstance(one, Restored)
        }
    for key in ("rank", "bits", "range"):
        values = {
            level: getattr(one, key)
            for level, one in treatments.items()
            if isinstance(one, Sent) and getattr(one, key)
        }
        if values:
            setting[key] = values
    own = {level: one for level, one in treatments.items() if isinstance(one, LevelCodec)}
    if own:
        setting["level_codec"] = {level: one.to_json() for level, one in own.items()}
    for one in treatments.values():
        if isinstance(one, PyramidCodec):
            setting["pyramid"] = one.to_json()
        elif isinstance(one, ImageCodec):
            setting["image"] = one.to_json()
    return setting


def _restored_to_json(one: Restored) -> dict[str, Any]:
    made = {"how": one.how, "from": [source for source, _ in one.sources]}
    return {**made, "weights": list(one.weights)} if one.weights else made


def treatments_from_json(setting: Mapping[str, Any]) -> dict[str, Treatment]:
    """The treatments of each level of a setting that ``treatments_to_json`` made.

    Raises:
        ValueError: it has another form.
    """
    try:
        return _treatments(setting)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its setting can't be read: {error!r}") from error


def _treatments(setting: Mapping[str, Any]) -> dict[str, Treatment]:
    levels = _levels(setting["cr"])
    if "image" in setting:
        return dict.fromkeys(levels, codec_from_json(IMAGE_CODECS, setting["image"]))
    sent: dict[str, Treatment] = {
        level: _sent(setting, level, ratio)
        for level, ratio in setting["cr"].items()
        if ratio is not None
    }
    for level, one in setting.get("level_codec", {}).items():
        sent[level] = codec_from_json(LEVEL_CODECS, one)
    if "pyramid" in setting:
        whole = codec_from_json(PYRAMID_CODECS, setting["pyramid"])
        sent.update(dict.fromkeys(whole.levels, whole))
    restore = setting.get("restore", {})

    def treatment(level: str) -> Treatment:
        if level in sent:
            return sent[level]
        one = restore[level]
        sources = tuple((source, treatment(source)) for source in one["from"])
        return Restored(one["how"], sources, tuple(one.get("weights", ())))

    return {level: treatment(level) for level in levels}


def _levels(names: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        return check_levels(tuple(sorted(names)))  # packing doesn't keep their order
    except InputError as error:
        raise ValueError(f"its setting can't be read: {error}") from error


def _sent(setting: Mapping[str, Any], level: str, ratio: float | str) -> Sent:
    rank, bits, kind = (setting.get(key, {}).get(level) for key in ("rank", "bits", "range"))
    linear = math.inf if ratio == MAX else float(ratio)
    return Sent(linear, rank or 0, bits or 0, kind or (DEFAULT_RANGE if bits else ""))
