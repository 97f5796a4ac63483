"""What becomes of a level: it is sent, perhaps reduced, or it is restored from what was sent.

A treatment says all that decides the map that a receiver ends up with, so that equal treatments
of one level are one map, whatever words asked for them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from detectron2_patch.errors import InputError
from detectron2_patch.settings.codecs import ImageCodec, LevelCodec, PyramidCodec
from detectron2_patch.settings.levels import LEVELS, MAX
from detectron2_patch.settings.registry import RESTORERS

FLOAT_BITS = 32  # of an element that isn't quantised
RANGES = ("level", "channel", "fitted-level", "fitted-channel")
FINER, COARSER, MIX, SUBSAMPLE, FIT = HOWS = ("finer", "coarser", "mix", "subsample", "fit")


@dataclass(frozen=True)
class Sent:
    """A level on the wire, in the order in which it is reduced.

    Attributes:
        ratio: linear; ``inf`` shrinks the map to 1x1.
        rank: principal components kept of the channels; 0: the channels as they are.
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
        how: the name of a restorer. ``finer``, ``coarser``: the one source, resampled bilinearly.
            ``mix``: the sum of sources so resampled, each times its weight. ``subsample``: every
            second row and column of P5, as the backbone makes P6. ``fit``: a fitted linear map of
            all sources. Others as they were registered.
        sources: levels and their treatments, by level.
        weights: of ``mix``, and whatever numbers another restorer takes.
    """

    how: str
    sources: tuple[tuple[str, Treatment], ...]
    weights: tuple[float, ...] = ()

    lossless = False

    @property
    def uses_fit(self) -> bool:
        """Whether the receiver needs what was fitted, for this level alone."""
        if self.how in HOWS:  # no need to import what restores them
            return self.how == FIT
        return RESTORERS.get(self.how).uses_fit


# A codec of the pyramid is the treatment of each level that it carries; an image codec of all five.
Treatment = Sent | LevelCodec | PyramidCodec | ImageCodec | Restored
CLEAN = Sent()


def is_sent(one: Treatment) -> bool:
    """Whether the receiver gets a level by the wire, alone or with others."""
    return not isinstance(one, Restored)


def all_levels(
    treatments: Mapping[str, float | Treatment], levels: Sequence[str] = LEVELS
) -> dict[str, Treatment]:
    """A treatment for each of ``levels``: those left out are clean, a number is a ratio.

    Raises:
        InputError: an unknown level, a ratio below 1, or treatments that don't fit together.
    """
    for level in treatments:
        if level not in levels:
            raise InputError(f"level {level!r} is unknown; the levels are {', '.join(levels)}")
    found = {level: treatments.get(level, CLEAN) for level in levels}
    whole = {level: _treatment(level, one) for level, one in found.items()}
    for level, treatment in whole.items():
        _check(level, treatment, whole)
    return whole


def _treatment(level: str, one: float | Treatment) -> Treatment:
    if isinstance(one, Sent | LevelCodec | PyramidCodec | ImageCodec | Restored):
        return one
    try:
        return Sent(math.inf if one == MAX else float(one))
    except (TypeError, ValueError):
        raise InputError(
            f"{level} as {one!r}: give a ratio (a number >= 1, or inf) or a treatment"
        ) from None


def _check(level: str, one: Treatment, whole: Mapping[str, Treatment]) -> None:
    """Refuse what no command makes: its name or its bytes would be another setting's."""
    if isinstance(one, Sent):
        _check_sent(level, one)
    elif isinstance(one, Restored):
        _check_restored(level, one, whole)
    elif isinstance(one, PyramidCodec):
        others = [other for other in one.levels if whole.get(other) != one]
        if level not in one.levels or others:
            raise InputError(
                f"{one.word} carries {', '.join(one.levels)}; give it to these levels and no other"
            )
    elif isinstance(one, ImageCodec) and any(other != one for other in whole.values()):
        raise InputError(f"{one.word} codes the image, before any level; give nothing else")


def _check_sent(level: str, one: Sent) -> None:
    if not one.ratio >= 1:
        raise InputError(f"ratio {one.ratio!r} of {level} is below 1; give a number >= 1 or inf")
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


def _check_restored(level: str, one: Restored, whole: Mapping[str, Treatment]) -> None:
    if one.how not in RESTORERS.names() or not one.sources:
        raise InputError(
            f"{level} as {one}: how is one of {', '.join(RESTORERS.names())}, with sources"
        )
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
