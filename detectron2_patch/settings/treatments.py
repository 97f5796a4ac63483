"""What becomes of a level: it is sent, perhaps reduced, or it is restored from what was sent.

A treatment says all that decides the map that a receiver ends up with, so that equal treatments
of one level are one map, whatever words asked for them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import LEVELS, MAX, ratio_to_json

FLOAT_BITS = 32  # of an element that isn't quantised
RANGES = ("level", "channel", "fitted-level", "fitted-channel")
FINER, COARSER, MIX, SUBSAMPLE, FIT = HOWS = ("finer", "coarser", "mix", "subsample", "fit")


@dataclass(frozen=True)
class Sent:
    """A level on the wire, in the order in which it is reduced.

    Attributes:
        ratio: linear; ``inf`` shrinks the map to 1x1.
        rank: principal directions kept of the channels; 0: the channels as they are.
        bits: of an element, 1 to 8; 0: float32.
        range: of the quantisation, one of ``RANGES``; empty without bits.
    """

    ratio: float = 1.0
    rank: int = 0
    bits: int = 0
    range: str = ""

    @property
    def lossless(self) -> bool:
        """Whether the receiver has the very map."""
        return self == CLEAN

    @property
    def uses_fit(self) -> bool:
        """Whether both sides need what was fitted."""
        return self.rank > 0 or self.range.startswith("fitted")


@dataclass(frozen=True)
class Restored:
    """A level that isn't sent, made from others as the receiver has them.

    Attributes:
        how: ``finer``, ``coarser``: the one source, resampled bilinearly. ``mix``: the sum of
            sources so resampled, each times its weight. ``subsample``: every second row and column
            of P5, as the backbone makes P6. ``fit``: a fitted linear map of all sources.
        sources: levels and their treatments, by level.
        weights: of ``mix``.
    """

    how: str
    sources: tuple[tuple[str, Treatment], ...]
    weights: tuple[float, ...] = ()

    lossless = False

    @property
    def uses_fit(self) -> bool:
        """Whether the receiver needs what was fitted, for this level alone."""
        return self.how == FIT


Treatment = Sent | Restored
CLEAN = Sent()


def all_levels(treatments: Mapping[str, float | Treatment]) -> dict[str, Treatment]:
    """A treatment for each of the five levels: those left out are clean, a number is a ratio.

    Raises:
        InputError: an unknown level or a ratio below 1.
    """
    for level, one in treatments.items():
        if level not in LEVELS:
            raise InputError(f"level {level!r} is unknown; the levels are {', '.join(LEVELS)}")
        ratio = one.ratio if isinstance(one, Sent) else 1 if isinstance(one, Restored) else one
        if not ratio >= 1:
            raise InputError(f"ratio {ratio!r} of {level} is below 1; give a number >= 1 or inf")
    found = {level: treatments.get(level, CLEAN) for level in LEVELS}
    whole = {
        level: one if isinstance(one, (Sent, Restored)) else Sent(float(one))
        for level, one in found.items()
    }
    for level, one in whole.items():
        _check(level, one, whole)
    return whole


def _check(level: str, one: Treatment, whole: Mapping[str, Treatment]) -> None:
    """Refuse what no command makes: its name or its bytes would be another setting's."""
    if isinstance(one, Sent):
        if (
            one.bits not in range(9)
            or one.rank < 0
            or bool(one.bits) != bool(one.range)
            or one.range not in ("", *RANGES)
        ):
            raise InputError(
                f"{level} as {one}: bits are 0 (none) to 8, with a range of "
                f"{', '.join(RANGES)}, and rank is 0 (none) or more"
            )
        return
    if one.how not in HOWS or not one.sources:
        raise InputError(f"{level} as {one}: how is one of {', '.join(HOWS)}, with sources")
    for source, treatment in one.sources:
        if whole.get(source) != treatment:
            raise InputError(
                f"{level} is restored from {source} as {treatment}, and {source} is "
                f"{whole.get(source)}; give the treatment that {source} has"
            )


def sources_of(level: str, treatment: Treatment) -> Iterator[tuple[str, Treatment]]:
    """The (level, treatment) itself and all that it is made from."""
    yield level, treatment
    if isinstance(treatment, Restored):
        for source in treatment.sources:
            yield from sources_of(*source)


def setting_to_json(
    treatments: Mapping[str, Treatment], scope: str, fitted: str | None = None
) -> dict[str, Any]:
    """A setting as results hold it; ``fitted`` is the SHA-256 of the file of fitted parts.

    Plain ratios give ``cr`` and ``scope`` alone. Other keys are there only where they say
    something: ``send`` (``cr`` of a level that isn't sent is None), ``restore``, ``rank``,
    ``bits``, ``range``, ``fitted``.
    """
    sent = {level: one for level, one in treatments.items() if isinstance(one, Sent)}
    setting: dict[str, Any] = {
        "cr": {
            level: ratio_to_json(sent[level].ratio) if level in sent else None for level in LEVELS
        },
        "scope": scope,
    }
    if len(sent) < len(LEVELS):
        setting["send"] = list(sent)
        setting["restore"] = {
            level: {
                "how": one.how,
                "from": [source for source, _ in one.sources],
                **({"weights": list(one.weights)} if one.weights else {}),
            }
            for level, one in treatments.items()
            if isinstance(one, Restored)
        }
    for key in ("rank", "bits", "range"):
        values = {level: getattr(one, key) for level, one in sent.items() if getattr(one, key)}
        if values:
            setting[key] = values
    if fitted is not None and any(one.uses_fit for one in treatments.values()):
        setting["fitted"] = fitted
    return setting


def setting_from_json(setting: Mapping[str, Any]) -> dict[str, Treatment]:
    """The treatments of a setting that ``setting_to_json`` made.

    Raises:
        ValueError: it has another form.
    """
    try:
        sent = {
            level: Sent(
                math.inf if ratio == MAX else float(ratio),
                *(
                    setting.get(key, {}).get(level, default)
                    for key, default in (("rank", 0), ("bits", 0), ("range", ""))
                ),
            )
            for level, ratio in setting["cr"].items()
            if ratio is not None
        }
        restore = setting.get("restore", {})

        def treatment(level: str) -> Treatment:
            if level in sent:
                return sent[level]
            one = restore[level]
            sources = tuple((source, treatment(source)) for source in one["from"])
            return Restored(one["how"], sources, tuple(one.get("weights", ())))

        return {level: treatment(level) for level in LEVELS}
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its setting can't be read: {error!r}") from error
