"""A setting in words, the same on every command line and in Python: --cr, --send, --restore,
--rank, --bits, --range."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import LEVELS, MAX, parse_cr, ratio_to_json
from detectron2_patch.settings.treatments import (
    COARSER,
    FINER,
    FIT,
    MIX,
    RANGES,
    SUBSAMPLE,
    Restored,
    Sent,
    Treatment,
)

# The flags of a setting and the arguments of parse_setting that they are.
FLAGS = {
    "--cr": "cr",
    "--send": "send",
    "--restore": "restore",
    "--rank": "rank",
    "--bits": "bits",
    "--range": "range",
}
NEAREST, ORIGIN = "nearest", "origin"
DEFAULT_RANGE = "level"
NONE = "-"  # of five words, the one that says nothing of its level
_RESTORE = (
    "nearest, finer, coarser, mix:WF,WC (weights of the nearest finer and coarser level), fit, "
    "origin, origin:p3, origin:p5, origin:W3,W5, or LEVEL=HOW with one of finer, coarser, "
    "mix:WF,WC, fit, and p6=subsample"
)

# (level, number of directions, or share of the variance that they hold) -> that number, checked
RankOf = Callable[[str, float], int]


def parse_setting(
    cr: Sequence[str | float] = (1, 1, 1, 1, 1),
    send: Sequence[str] | None = None,
    restore: Sequence[str] | None = None,
    rank: Sequence[str | float] | None = None,
    bits: Sequence[str | int] | None = None,
    range: Sequence[str] | None = None,
    rank_of: RankOf | None = None,
) -> dict[str, Treatment]:
    """The treatment of each level that the words ask for::

        parse_setting(send=["p3", "p5"], restore=["fit"], bits=[4])

    Args:
        cr: as ``ratios.parse_cr`` takes it. A level that isn't sent has ratio 1.
        send: levels; left out: all five, or P3 and P5 where ``restore`` is the origin's.
        restore: how levels that aren't sent are made: a word for all, and ``LEVEL=HOW`` for one.
            ``nearest`` (the default) takes the nearest level that was sent, of two the finer;
            ``finer`` and ``coarser`` take the nearest on that side, or on the other where there is
            none; ``mix`` both, where there are both. P6 is always the subsample of P5, as in the
            backbone, unless ``p6=`` says otherwise. ``origin`` is the study's proposal.
        rank: principal directions kept, one word for all sent levels or five: a whole number, max
            for all, or a share of the variance below 1; ``Fitted.rank_of`` resolves them.
        bits: of an element, 1 to 8, one word for all sent levels or five, ``-`` for float32.
        range: one of ``RANGES``, one word for all levels with bits, or five.

    Raises:
        InputError: a word that isn't one of these, or words that contradict each other.
    """
    ratios = parse_cr(cr)
    sent_levels = parse_send(send, restore)
    for level in LEVELS:
        if level not in sent_levels and ratios[level] != 1:
            raise InputError(
                f"--cr has {ratios[level]:g} for {level}, which --send leaves out; "
                "give 1 there, or send it"
            )
    ranks = _each("--rank", rank, sent_levels, lambda level, w: _parse_rank(level, w, rank_of))
    widths = _each("--bits", bits, sent_levels, lambda _, word: _parse_bits(word))
    ranges = _each("--range", range, sent_levels, lambda _, word: _parse_range(word))
    without = [level for level in ranges if level not in widths]
    if range is not None and (not widths or (len(range) > 1 and without)):
        raise InputError(
            "--range is that of a quantisation; give --bits for "
            f"{', '.join(without) or 'a level'}, too"
        )
    sent = {
        level: Sent(
            ratios[level],
            ranks.get(level, 0),
            widths.get(level, 0),
            ranges.get(level, DEFAULT_RANGE) if level in widths else "",
        )
        for level in sent_levels
    }
    return restored(sent, restore or ())


def parse_send(send: Sequence[str] | None, restore: Sequence[str] | None = None) -> tuple[str, ...]:
    """The levels that are sent, P2 first; None: all, or P3 and P5 with the origin's ``restore``.

    Raises:
        InputError: none, an unknown one, or one twice.
    """
    if send is None:
        of_origin = any(word.partition(":")[0] == ORIGIN for word in restore or ())
        return ("p3", "p5") if of_origin else LEVELS
    use = f"one or more of {', '.join(LEVELS)}, each once, with spaces between"
    if not send:
        raise InputError(f"--send got no level; give {use}")
    for level in send:
        if level not in LEVELS:
            raise InputError(f"--send got {level!r}, which is no level; give {use}")
        if list(send).count(level) > 1:
            raise InputError(f"--send got {level} more than once; give {use}")
    return tuple(level for level in LEVELS if level in send)


def _each(
    flag: str, words: Sequence | None, sent: Sequence[str], parse: Callable[[str, str], object]
) -> dict:
    """Level to value, from one word for all sent levels or from five."""
    if words is None:
        return {}
    words = [str(word) for word in words]
    if len(words) == 1:
        words = [words[0] if level in sent else NONE for level in LEVELS]
    if len(words) != len(LEVELS):
        raise InputError(
            f"{flag} got {len(words)} words; give one for all sent levels, or five "
            f"(P2 to P6) with {NONE!r} where there is nothing to say"
        )
    for level, word in zip(LEVELS, words):
        if word != NONE and level not in sent:
            raise InputError(
                f"{flag} got {word!r} for {level}, which --send leaves out; give {NONE!r} there"
            )
    return {level: parse(level, word) for level, word in zip(LEVELS, words) if word != NONE}


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
        number = math.inf if word == MAX else float(word)
    except ValueError:
        number = math.nan
    if math.isinf(number) and word != MAX:
        number = math.nan
    if rank_of is None:
        raise InputError(
            f"--rank {word} needs principal directions: give --fitted FILE, which "
            "tools/fit.py makes"
        )
    if 0 < number < 1 or word == MAX or (number >= 1 and number == int(number)):
        return rank_of(level, number)
    raise InputError(
        f"--rank got {word!r}; give a whole number of directions, {MAX!r} for all, a "
        f"share of the variance between 0 and 1, or {NONE!r}"
    )


def restored(sent: Mapping[str, Sent], words: Sequence[str] = ()) -> dict[str, Treatment]:
    """Sent levels, P2 first, and the others made from them as the words of ``--restore`` say.

    Raises:
        InputError: a word that isn't one, or that doesn't fit what is sent.
    """
    missing = [level for level in LEVELS if level not in sent]
    overall, own = NEAREST, {}
    for word in words:
        level, equals, how = word.partition("=")
        if not equals:
            overall = word
        elif level not in missing:
            what = "is sent" if level in sent else "is no level"
            raise InputError(
                f"--restore got {word!r}, and {level} {what}; name one that isn't "
                f"sent ({', '.join(missing) or 'here all are'})"
            )
        else:
            own[level] = how
    if len(words) - len(own) > 1:
        raise InputError(
            f"--restore got {' '.join(words)!r}: more than one word for all levels; "
            f"give one of {_RESTORE}"
        )
    _check_how(overall)
    treatments: dict[str, Treatment] = dict(sent)
    for level in missing:  # P6 last: it may be made from a restored P5
        treatments[level] = _make(level, own.get(level), overall, sent, treatments)
    return {level: treatments[level] for level in LEVELS}


def _make(
    level: str,
    own: str | None,
    overall: str,
    sent: Mapping[str, Sent],
    treatments: Mapping[str, Treatment],
) -> Restored:
    """The restoration of one level."""
    if own is not None:
        return _explicit(level, own, sent, treatments)
    name, _, detail = overall.partition(":")
    if name == ORIGIN:
        return _of_origin(level, detail, sent)
    if level == "p6":
        return Restored(SUBSAMPLE, (("p5", treatments["p5"]),))
    finer, coarser = _neighbours(level, sent)
    if name == MIX and finer and coarser:
        return _mixed(finer, coarser, sent, _weights(overall, detail))
    if name == FIT:
        return Restored(FIT, tuple(sent.items()))
    if name == COARSER and coarser or not finer:
        return Restored(COARSER, ((coarser, sent[coarser]),))
    if name in (FINER, MIX) or not coarser:
        return Restored(FINER, ((finer, sent[finer]),))
    near = _distance(level, finer) <= _distance(level, coarser)
    source = finer if near else coarser
    return Restored(FINER if near else COARSER, ((source, sent[source]),))


def _explicit(
    level: str, word: str, sent: Mapping[str, Sent], treatments: Mapping[str, Treatment]
) -> Restored:
    """What ``LEVEL=HOW`` asks for, to the letter."""
    name, _, detail = word.partition(":")
    finer, coarser = _neighbours(level, sent)
    if name == SUBSAMPLE and level == "p6" and not detail:
        return Restored(SUBSAMPLE, (("p5", treatments["p5"]),))
    if name == FIT and not detail and level != "p6":
        return Restored(FIT, tuple(sent.items()))
    if name not in (FINER, COARSER, MIX) or (detail and name != MIX):
        raise InputError(
            f"--restore got '{level}={word}'; give {_RESTORE} (P6 is no fit: its "
            "subsample of P5 is what the backbone does)"
        )
    for side, neighbour in ((FINER, finer), (COARSER, coarser)):
        if name in (side, MIX) and neighbour is None:
            raise InputError(
                f"--restore got '{level}={word}', and no {side} level is sent; send "
                "one, or take another word"
            )
    if name == MIX:
        return _mixed(finer, coarser, sent, _weights(word, detail))
    source = finer if name == FINER else coarser
    return Restored(name, ((source, sent[source]),))


def _of_origin(level: str, detail: str, sent: Mapping[str, Sent]) -> Restored:
    """The study's proposal: P2 from P3, P6 from P5, P4 from P3, from P5 or from both."""
    if tuple(sent) != ("p3", "p5"):
        raise InputError(
            f"--restore origin sends p3 and p5, and --send says {' '.join(sent)}; leave --send out"
        )
    p3, p5 = sent.items()
    if level == "p2" or (level == "p4" and detail == "p5"):
        return Restored(COARSER, (p3 if level == "p2" else p5,))
    if level == "p6" or detail == "p3":
        return Restored(FINER, (p5 if level == "p6" else p3,))
    weights = _weights(f"{ORIGIN}:{detail}", detail) if detail else (0.5, 0.5)
    return _mixed("p3", "p5", sent, weights)


def _mixed(
    finer: str, coarser: str, sent: Mapping[str, Sent], weights: tuple[float, float]
) -> Restored:
    """A mix; with weights 1 and 0 it is the one level alone, and told so."""
    if weights in ((1, 0), (0, 1)):
        how, source = (FINER, finer) if weights[0] else (COARSER, coarser)
        return Restored(how, ((source, sent[source]),))
    return Restored(MIX, ((finer, sent[finer]), (coarser, sent[coarser])), weights)


def _check_how(word: str) -> None:
    name, colon, detail = word.partition(":")
    plain = name in (NEAREST, FINER, COARSER, FIT, ORIGIN) and not colon
    if plain or (name == ORIGIN and detail in ("p3", "p5")):
        return
    if name not in (MIX, ORIGIN):
        raise InputError(f"--restore got {word!r}; give {_RESTORE}")
    _weights(word, detail)


def _weights(word: str, detail: str) -> tuple[float, float]:
    try:
        first, second = map(float, detail.split(","))
    except ValueError:
        first = second = math.nan
    if not (math.isfinite(first) and math.isfinite(second)):
        raise InputError(f"--restore got {word!r}, which has no two weights; give {_RESTORE}")
    return first, second


def _neighbours(level: str, sent: Mapping[str, Sent]) -> tuple[str | None, str | None]:
    """The nearest finer and the nearest coarser level that is sent."""
    index = LEVELS.index(level)
    finer = [one for one in LEVELS[:index] if one in sent]
    coarser = [one for one in LEVELS[index + 1 :] if one in sent]
    return finer[-1] if finer else None, coarser[0] if coarser else None


def _distance(one: str, other: str) -> int:
    return abs(LEVELS.index(one) - LEVELS.index(other))


def setting_words(treatments: Mapping[str, Treatment]) -> str:
    """The words that ``parse_setting`` makes these treatments from, as on a command line."""
    sent = {level: one for level, one in treatments.items() if isinstance(one, Sent)}
    ratios = [sent[level].ratio if level in sent else 1 for level in LEVELS]
    words = []
    if any(ratio != 1 for ratio in ratios) or len(sent) == len(LEVELS):
        words += ["--cr", *(str(ratio_to_json(ratio)) for ratio in ratios)]
    if len(sent) < len(LEVELS):
        words += [
            "--send",
            *sent,
            "--restore",
            *(
                f"{level}={_how_word(one)}"
                for level, one in treatments.items()
                if isinstance(one, Restored)
            ),
        ]
    for key in ("rank", "bits", "range"):
        values = [getattr(sent[level], key) or NONE if level in sent else NONE for level in LEVELS]
        given = [value for level, value in zip(LEVELS, values) if level in sent]
        if set(given) != {NONE}:
            words += [f"--{key}", *map(str, values if len(set(given)) > 1 else given[:1])]
    return " ".join(words)


def _how_word(one: Restored) -> str:
    if one.how == MIX:
        return f"{MIX}:{','.join(f'{weight!r}' for weight in one.weights)}"
    return one.how
