"""Settings as people read them: ``8 1 1 1 1``, or ``send P3 P5, origin, 4 bits``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.settings.parsing import DEFAULT_RANGE
from detectron2_patch.settings.treatments import FIT, SUBSAMPLE

_MORE = ("send", "restore", "bits", "range", "rank", "weights", "fitted")


def is_clean(setting: Mapping[str, Any]) -> bool:
    """Whether a setting changes nothing."""
    return setting == {"cr": dict.fromkeys(LEVELS, 1), "scope": setting["scope"]}


def is_plain(setting: Mapping[str, Any]) -> bool:
    """Whether a result's setting is a scope and five ratios and nothing else."""
    return isinstance(setting["cr"], Mapping) and not any(setting.get(key) for key in _MORE)


def setting_label(setting: Mapping[str, Any]) -> str:
    """A few words for a result's setting, its scope aside.

    ``clean`` and ``P2 … P6`` as five ratios where that is all; else what is sent, how the rest is
    restored, ratios other than 1, bits, ranges and ranks.
    """
    if is_clean(setting):
        return "clean"
    if is_plain(setting):
        return " ".join(str(setting["cr"][level]) for level in LEVELS)
    if "weights" in setting:  # the origin's proposed method, from its own result files
        weights = setting["weights"]
        return f"send P3 P5, origin, P4 = {weights['p5']:g} P5 + {weights['p3']:g} P3"
    parts = []
    if setting.get("send"):
        parts.append("send " + _names(setting["send"]))
    if setting.get("restore"):
        parts.append(_restored(setting.get("send") or [], setting["restore"]))
    parts = [part for part in parts if part]
    ratios = {level: r for level, r in (setting["cr"] or {}).items() if r not in (1, None)}
    parts += _by_value(ratios, "ratio {}")
    parts += _by_value(setting.get("bits") or {}, "{} bits")
    parts += _ranges(setting.get("range") or {})
    parts += _by_value(setting.get("rank") or {}, "rank {}")
    return ", ".join(parts)


def _names(levels) -> str:
    """``P3 P5``; three and more that follow each other are ``P2–P5``."""
    numbers = [LEVELS.index(level) for level in levels]
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{levels[0].upper()}–{levels[-1].upper()}"
    return " ".join(level.upper() for level in levels)


def _restored(send: Sequence[str], restore: Mapping[str, Mapping[str, Any]]) -> str:
    """How the levels that aren't sent come back: ``fitted``, ``origin, P4 from P5``, or each one's
    sources. P6 as the subsample of P5, as the backbone makes it, goes without saying."""
    own = {level: one for level, one in restore.items() if one["how"] != SUBSAMPLE}
    if own and all(one["how"] == FIT for one in own.values()):
        return "fitted"
    parts = []
    sources = {level: one["from"] for level, one in own.items() if level != "p4"}
    if list(send) == ["p3", "p5"] and sources == {"p2": ["p3"], "p6": ["p5"]}:
        parts, own = ["origin"], {"p4": own["p4"]}
    ways: dict[str, list[str]] = {}
    for level, one in own.items():
        weights = "".join(f" {weight:g}" for weight in one.get("weights", ()))
        how = "fitted" if one["how"] == FIT else "from"
        ways.setdefault(f"{how} {_names(one['from'])}{weights}", []).append(level)
    return ", ".join([*parts, *(f"{_names(levels)} {way}" for way, levels in ways.items())])


def _by_value(values: Mapping[str, Any], form: str) -> list[str]:
    """``4 bits``, or with different values ``4 bits P2 P3``, ``3 bits P5``."""
    levels: dict[Any, list[str]] = {}
    for level, value in values.items():
        levels.setdefault(value, []).append(level)
    if len(levels) == 1 and form != "ratio {}":
        return [form.format(value) for value in levels]
    return [f"{form.format(value)} {_names(those)}" for value, those in levels.items()]


def _ranges(ranges: Mapping[str, str]) -> list[str]:
    ranges = {level: one for level, one in ranges.items() if one != DEFAULT_RANGE}
    words = {
        "channel": "range a channel",
        "fitted-level": "fitted range a level",
        "fitted-channel": "fitted range a channel",
    }
    return _by_value({level: words.get(one, one) for level, one in ranges.items()}, "{}")
