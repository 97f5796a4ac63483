"""Treatments as people read them: ``8 1 1 1 1``, or ``send P3 P5, as the study, 4 bits``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from detectron2_patch.settings.codecs import ImageCodec, LevelCodec, PyramidCodec
from detectron2_patch.settings.levels import ANY, ratio_to_json
from detectron2_patch.settings.parsing import DEFAULT_RANGE
from detectron2_patch.settings.treatments import (
    FIT,
    SUBSAMPLE,
    Restored,
    Sent,
    Treatment,
    is_sent,
)

if TYPE_CHECKING:
    from detectron2_patch.settings.setting import Setting


def label_of(treatments: Mapping[str, Treatment]) -> str:
    """A few words for the treatments of all levels: ratios where that is all; else what is sent,
    how the rest is restored, codecs, ratios other than 1, bits, ranges and ranks."""
    first = next(iter(treatments.values()))
    if isinstance(first, ImageCodec):
        return f"image, {first.label}"
    if all(isinstance(one, Sent) and one == Sent(one.ratio) for one in treatments.values()):
        return " ".join(str(ratio_to_json(one.ratio)) for one in treatments.values())  # type: ignore[union-attr]
    sent = {level: one for level, one in treatments.items() if is_sent(one)}
    restored = {level: one for level, one in treatments.items() if isinstance(one, Restored)}
    parts = []
    if restored:
        parts += [f"send {_names(list(sent))}", _restored(list(sent), restored)]
    whole = next((one for one in sent.values() if isinstance(one, PyramidCodec)), None)
    parts += [whole.label] if whole else []
    own = {level: one.label for level, one in sent.items() if isinstance(one, LevelCodec)}
    parts += _by_value(own, "{}", sent)
    alone = {level: one for level, one in sent.items() if isinstance(one, Sent)}
    ratios = {level: ratio_to_json(one.ratio) for level, one in alone.items() if one.ratio != 1}
    bits = {level: one.bits for level, one in alone.items() if one.bits}
    ranks = {level: one.rank for level, one in alone.items() if one.rank}
    parts += _by_value(ratios, "ratio {}", sent)
    parts += _by_value(bits, "{} bits", sent)
    parts += _ranges({level: one.range for level, one in alone.items() if one.range}, sent)
    parts += _by_value(ranks, "rank {}", sent)
    return ", ".join(part for part in parts if part)


KINDS = ("ratio", "rank", "bits", "range", "restore")  # the columns that each level has


def columns_for(levels: Iterable[str]) -> tuple[str, ...]:
    """The names of ``columns_of`` but the ratios, then ``fitted``, in a table's order."""
    return (*(f"{level}_{kind}" for kind in KINDS[1:] for level in levels), "codec", "fitted")


def columns_of(treatments: Mapping[str, Treatment]) -> dict[str, Any]:
    """What becomes of each level, for a table: ``p2_ratio``, ``p2_rank``, ``p2_bits``,
    ``p2_range``, ``p2_restore`` and so on to P6, then ``codec``.

    None stands where there is nothing to say: the ratio of a level that isn't sent, rank and bits
    of one that is sent as it is. A ratio is inf for 1x1. What a codec does to its levels is in its
    word.
    """
    found: dict[str, Any] = {}
    for level, one in treatments.items():
        alone = one if isinstance(one, Sent) else Sent()
        found |= {
            f"{level}_ratio": None if isinstance(one, Restored) else alone.ratio,
            f"{level}_rank": alone.rank or None,
            f"{level}_bits": alone.bits or None,
            f"{level}_range": alone.range or None,
            f"{level}_restore": _way(one) if isinstance(one, Restored) else None,
        }
    codecs = {
        level: one.word
        for level, one in treatments.items()
        if isinstance(one, LevelCodec | PyramidCodec | ImageCodec)
    }
    whole = len(set(codecs.values())) == 1
    words = codecs.values() if whole else (f"{level}={word}" for level, word in codecs.items())
    return {**found, "codec": " ".join(dict.fromkeys(words)) or None}


def distinct_labels(settings: Iterable[Setting]) -> dict[Setting, str]:
    """The label of each setting; those of several fitted files are told apart by the start of its
    SHA-256, so that no two settings of a scope share one."""
    settings = list(dict.fromkeys(settings))
    files: dict[tuple[str, str], set[str]] = {}
    for one in settings:
        files.setdefault((one.scope, one.label), set()).add(one.fitted)
    return {
        one: f"{one.label} (fitted {one.fitted[:8]})"
        if one.fitted and len(files[one.scope, one.label]) > 1
        else one.label
        for one in settings
    }


def _names(levels) -> str:
    """``P3 P5``; three and more that follow each other are ``P2–P5``."""
    numbers = [ANY.index(level) for level in levels]
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{levels[0].upper()}–{levels[-1].upper()}"
    return " ".join(level.upper() for level in levels)


def _restored(send: Sequence[str], restored: Mapping[str, Restored]) -> str:
    """How the levels that aren't sent come back: ``fitted``, ``as the study, P4 from P5``, or each
    one's sources. P6 as the subsample of P5, as the backbone makes it, goes without saying."""
    own = {level: one for level, one in restored.items() if one.how != SUBSAMPLE}
    if own and all(one.how == FIT for one in own.values()):
        return "fitted"
    parts = []
    sources = {level: _sources(one) for level, one in own.items() if level != "p4"}
    if send == ["p3", "p5"] and sources == {"p2": ["p3"], "p6": ["p5"]} and "p4" in own:
        parts, own = ["as the study"], {"p4": own["p4"]}
    ways: dict[str, list[str]] = {}
    for level, one in own.items():
        ways.setdefault(_way(one), []).append(level)
    return ", ".join([*parts, *(f"{_names(levels)} {way}" for way, levels in ways.items())])


def _way(one: Restored) -> str:
    weights = "".join(f" {weight:g}" for weight in one.weights)
    how = {FIT: "fitted", "finer": "from", "coarser": "from", "mix": "from"}.get(one.how)
    return f"{how or one.how + ' from'} {_names(_sources(one))}{weights}"


def _sources(one: Restored) -> list[str]:
    return [level for level, _ in one.sources]


def _by_value(values: Mapping[str, Any], form: str, sent: Mapping[str, Any]) -> list[str]:
    """``4 bits`` where all that is sent has it, else ``4 bits P2 P3``, ``3 bits P5``."""
    levels: dict[Any, list[str]] = {}
    for level, value in values.items():
        levels.setdefault(value, []).append(level)
    if len(levels) == 1 and len(values) == len(sent):
        return [form.format(value) for value in levels]
    return [f"{form.format(value)} {_names(those)}" for value, those in levels.items()]


def _ranges(ranges: Mapping[str, str], sent: Mapping[str, Any]) -> list[str]:
    ranges = {level: one for level, one in ranges.items() if one != DEFAULT_RANGE}
    words = {
        "channel": "range a channel",
        "fitted-level": "fitted range a level",
        "fitted-channel": "fitted range a channel",
    }
    return _by_value({level: words.get(one, one) for level, one in ranges.items()}, "{}", sent)
