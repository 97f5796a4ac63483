"""Treatments in words, the same on every command line and in Python: --cr, --send, --restore,
--rank, --bits, --range, --level-codec, --pyramid, --image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from detectron2_patch.errors import InputError
from detectron2_patch.settings.codecs import PyramidCodec, parse_codec
from detectron2_patch.settings.levels import LEVELS, MAX, how_many, parse_cr, wire_levels
from detectron2_patch.settings.registry import (
    IMAGE_CODECS,
    LEVEL_CODECS,
    PYRAMID_CODECS,
)
from detectron2_patch.settings.restoring import ORIGIN, restored
from detectron2_patch.settings.treatments import (
    RANGES,
    Sent,
    Treatment,
)

DEFAULT_RANGE = "level"
NONE = "-"  # of five words, the one that says nothing of its level

# (level, number of components, or share of the variance that they hold) -> that number, checked
RankOf = Callable[[str, float], int]


def parse_setting(
    cr: Sequence[str | float] | None = None,
    send: Sequence[str] | None = None,
    restore: Sequence[str] | None = None,
    rank: Sequence[str | float] | float | None = None,
    bits: Sequence[str | int] | int | None = None,
    range: Sequence[str] | None = None,
    level_codec: Sequence[str] | None = None,
    pyramid: str | None = None,
    image: str | None = None,
    rank_of: RankOf | None = None,
    levels: Sequence[str] = LEVELS,
) -> dict[str, Treatment]:
    """The treatment of each level that the words ask for::

        parse_setting(send=["p3", "p5"], restore=["fit"], bits=[4])
        parse_setting(image="avif:50")

    A text is read as words with spaces between, and a number is one word.

    Args:
        cr: as ``levels.parse_cr`` takes it; left out: 1. A level that isn't sent has ratio 1.
        send: levels; left out: all five, or P3 and P5 where ``restore`` is the origin's, or what a
            codec of the pyramid carries.
        restore: how levels that aren't sent are made: a word for all, and ``LEVEL=HOW`` for one.
            ``nearest`` (the default) takes the nearest level that was sent, of two the finer;
            ``finer`` and ``coarser`` take the nearest on that side, or on the other where there is
            none; ``mix`` both, where there are both. P6 is always the subsample of P5, as in the
            backbone, unless ``p6=`` says otherwise. ``origin`` is the study's proposal.
        rank: principal components kept, one word for all sent levels or five: a whole number, max
            for all, or a share of the variance below 1; ``Fitted.rank_of`` resolves them.
        bits: of an element, 1 to 8, one word for all sent levels or five, ``-`` for float32.
        range: one of ``RANGES``, one word for all levels with bits, or five.
        level_codec: ``name:arguments`` of registered codecs of a level, one word for all sent
            levels or five, ``-`` for none.
        pyramid: ``name:arguments`` of a registered codec of the pyramid.
        image: ``name:arguments`` of a registered image codec.
        levels: the detector's, finest first; "five" above is as many as there are.

    Raises:
        InputError: a word that isn't one of these, or words that contradict each other.
    """
    cr, send, restore, rank, bits, range, level_codec = map(
        _words, (cr, send, restore, rank, bits, range, level_codec)
    )
    given = {
        "--cr": cr,
        "--send": send,
        "--restore": restore,
        "--rank": rank,
        "--bits": bits,
        "--range": range,
        "--level-codec": level_codec,
        "--pyramid": pyramid,
    }
    if image is not None:
        others = [flag for flag, words in given.items() if words is not None]
        if others and not (
            others == ["--cr"] and set(parse_cr(cr or (), levels).values()) == {1.0}
        ):
            raise InputError(
                f"--image {image} codes the image, before there is a pyramid; leave "
                f"{', '.join(others)} out"
            )
        return dict.fromkeys(levels, parse_codec(IMAGE_CODECS, image))
    if pyramid is not None:
        for flag, words in (("--bits", bits), ("--level-codec", level_codec)):
            if words is not None:
                raise InputError(
                    f"{flag} is of levels that are coded one by one, and {pyramid} codes them "
                    f"together; leave one of them out"
                )
        return _with_pyramid(pyramid, cr, send, restore, rank, range, rank_of, levels)
    return _by_level(cr, send, restore, rank, bits, range, level_codec, rank_of, levels)


def _words(given: Any) -> Sequence | None:
    """Words as a sequence: Python callers write ``send="p3 p5"`` and ``bits=4``, too."""
    if isinstance(given, str):
        return given.split()
    return given if given is None or isinstance(given, Sequence) else [given]


def _by_level(
    cr, send, restore, rank, bits, range, level_codec, rank_of, levels
) -> dict[str, Treatment]:
    """The treatments where each level is coded by itself."""
    sent_levels = parse_send(send, restore, levels)
    ratios = _ratios(cr, sent_levels, levels)

    def each(flag: str, words: Sequence | None, parse: Callable[[str, str], object]) -> dict:
        return _each(flag, words, sent_levels, parse, levels)

    codecs = each("--level-codec", level_codec, lambda _, word: parse_codec(LEVEL_CODECS, word))
    ranks = each("--rank", rank, lambda level, w: _parse_rank(level, w, rank_of))
    widths = each("--bits", bits, lambda _, word: _parse_bits(word))
    ranges = each("--range", range, lambda _, word: _parse_range(word))
    without = [level for level in ranges if level not in widths]
    if range is not None and (not widths or (len(range) > 1 and without)):
        raise InputError(
            "--range is that of a quantisation; give --bits for "
            f"{', '.join(without) or 'a level'}, too"
        )
    for level, codec in codecs.items():
        if ratios[level] != 1 or level in ranks or level in widths:
            raise InputError(
                f"--level-codec {codec.word} of {level} is all that is done to it; leave its "
                "--cr, --rank and --bits out"
            )
    sent: dict[str, Treatment] = {
        level: codecs.get(level)
        or Sent(
            ratios[level],
            ranks.get(level, 0),
            widths.get(level, 0),
            ranges.get(level, DEFAULT_RANGE) if level in widths else "",
        )
        for level in sent_levels
    }
    return restored(sent, restore or (), levels)


def _with_pyramid(
    pyramid, cr, send, restore, rank, range, rank_of, given: Sequence[str]
) -> dict[str, Treatment]:
    """The treatments where a codec carries several levels at once."""
    name, _, arguments = pyramid.partition(":")
    levels = None if send is None else parse_send(send, levels=given)
    named = levels or wire_levels(given)
    ratios = {level: r for level, r in _ratios(cr, named, given).items() if r != 1}
    words = {
        "ratio": ratios,
        "rank": _each(
            "--rank", rank, named, lambda level, w: _parse_rank(level, w, rank_of), given
        ),
        "range": _each("--range", range, named, lambda _, word: _parse_range(word), given),
    }
    codec: PyramidCodec = PYRAMID_CODECS.get(name).parse_for(arguments, given)
    codec = codec.with_words(levels, {key: values for key, values in words.items() if values})
    if others := [level for level in codec.levels if level not in given]:
        raise InputError(
            f"{pyramid} carries {', '.join(codec.levels)}, and this detector has no "
            f"{', '.join(others)}; name its own, take a codec that was made for it, or code its "
            "levels one by one"
        )
    return restored(dict.fromkeys(codec.levels, codec), restore or (), given)


def _ratios(
    cr: Sequence[str | float] | None, sent: Sequence[str], levels: Sequence[str]
) -> dict[str, float]:
    ratios = parse_cr([1] * len(levels) if cr is None else cr, levels)
    for level in levels:
        if level not in sent and ratios[level] != 1:
            raise InputError(
                f"--cr has {ratios[level]:g} for {level}, which is not sent; "
                "give 1 there, or send it"
            )
    return ratios


def parse_send(
    send: Sequence[str] | None,
    restore: Sequence[str] | None = None,
    levels: Sequence[str] = LEVELS,
) -> tuple[str, ...]:
    """The levels that are sent, finest first; None: all, or P3 and P5 where ``restore`` is the
    origin's.

    Raises:
        InputError: none, an unknown one, or one twice.
    """
    if send is None:
        of_origin = any(word.partition(":")[0] == ORIGIN for word in restore or ())
        return ("p3", "p5") if of_origin else tuple(levels)
    use = f"one or more of {', '.join(levels)}, each once, with spaces between"
    if not send:
        raise InputError(f"--send got no level; give {use}")
    for level in send:
        if level not in levels:
            raise InputError(f"--send got {level!r}, which is no level; give {use}")
        if list(send).count(level) > 1:
            raise InputError(f"--send got {level} more than once; give {use}")
    return tuple(level for level in levels if level in send)


def _each(
    flag: str,
    words: Sequence | None,
    sent: Sequence[str],
    parse: Callable[[str, str], object],
    levels: Sequence[str],
) -> dict:
    """Level to value, from one word for all sent levels or from one a level."""
    if words is None:
        return {}
    words = [str(word) for word in words]
    if len(words) == 1:
        words = [words[0] if level in sent else NONE for level in levels]
    if len(words) != len(levels):
        raise InputError(
            f"{flag} got {len(words)} words; give one for all sent levels, or "
            f"{how_many(levels)} with {NONE!r} where there is nothing to say"
        )
    for level, word in zip(levels, words):
        if word != NONE and level not in sent:
            raise InputError(
                f"{flag} got {word!r} for {level}, which --send leaves out; give {NONE!r} there"
            )
    return {level: parse(level, word) for level, word in zip(levels, words) if word != NONE}


def _parse_bits(word: str) -> int:
    if word not in set("12345678"):
        raise InputError(f"--bits got {word!r}; give a whole number from 1 to 8, or {NONE!r}")
    return int(word)


def _parse_range(word: str) -> str:
    if word not in RANGES:
        raise InputError(f"--range got {word!r}; give one of {', '.join(RANGES)}")
    return word


def _parse_rank(level: str, word: str, rank_of: RankOf | None) -> int:
    try:
        plain = word.isascii() and "_" not in word
        number = math.inf if word == MAX else float(word) if plain else math.nan
    except ValueError:
        number = math.nan
    if math.isinf(number) and word != MAX:
        number = math.nan
    if rank_of is None:
        raise InputError(
            f"--rank {word} needs principal components: give --fitted FILE, which "
            "tools/fit.py makes"
        )
    if 0 < number < 1 or word == MAX or (number >= 1 and number == int(number)):
        return rank_of(level, number)
    raise InputError(
        f"--rank got {word!r}; give a whole number of components, {MAX!r} for all, a "
        f"share of the variance between 0 and 1, or {NONE!r}"
    )
