"""How levels that aren't sent are made: the words of ``--restore``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import ANY, LEVELS, subsampled
from detectron2_patch.settings.registry import RESTORERS
from detectron2_patch.settings.treatments import (
    COARSER,
    FINER,
    FIT,
    HOWS,
    MIX,
    SUBSAMPLE,
    Restored,
    Treatment,
)

NEAREST, ORIGIN = "nearest", "origin"
_RESTORE = (
    "nearest, finer, coarser, mix:WF,WC (weights of the nearest finer and coarser level), fit, "
    "origin, origin:p3, origin:p5, origin:W3,W5, a registered restorer, or LEVEL=HOW with one of "
    "finer, coarser, mix:WF,WC, fit, and p6=subsample"
)


def restored(
    sent: Mapping[str, Treatment], words: Sequence[str] = (), levels: Sequence[str] = LEVELS
) -> dict[str, Treatment]:
    """Sent levels, finest first, and the others made from them as the words of ``--restore`` say.

    Raises:
        InputError: a word that isn't one, or that doesn't fit what is sent.
    """
    missing = [level for level in levels if level not in sent]
    overall, own = NEAREST, {}
    for word in words:
        level, equals, how = word.partition("=")
        if not equals:
            overall = word
        elif level not in missing:
            what = "is sent" if level in sent else "is no level"
            raise InputError(
                f"--restore got {word!r}, and {level or repr(level)} {what}; name one that isn't "
                f"sent ({', '.join(missing) or 'here all are'})"
            )
        elif level in own:
            raise InputError(f"--restore got {level} more than once; give one way to make it")
        else:
            own[level] = how
    if len(words) - len(own) > 1:
        raise InputError(
            f"--restore got {' '.join(words)!r}: more than one word for all levels; "
            f"give one of {_RESTORE}"
        )
    _check_how(overall)
    if overall.startswith(ORIGIN) and tuple(levels) != LEVELS:
        raise InputError(
            f"--restore {overall} is the study's, for P2 to P6, and this detector has "
            f"{levels[0].upper()} to {levels[-1].upper()}; give another word"
        )
    last = subsampled(levels)
    sent = {level: sent[level] for level in levels if level in sent}
    treatments: dict[str, Treatment] = dict(sent)
    for level in missing:  # P6 last: it may be made from a restored P5
        treatments[level] = _make(level, own.get(level), overall, sent, treatments, last)
    return {level: treatments[level] for level in levels}


def _make(
    level: str,
    own: str | None,
    overall: str,
    sent: Mapping[str, Treatment],
    treatments: Mapping[str, Treatment],
    last: str | None,
) -> Restored:
    """The restoration of one level; ``last`` is the one that is subsampled."""
    if own is not None:
        return _explicit(level, own, sent, treatments, last)
    name, _, detail = overall.partition(":")
    if name == ORIGIN:
        return _of_origin(level, detail, sent)
    if level == last:
        return Restored(SUBSAMPLE, (("p5", treatments["p5"]),))
    if name not in (NEAREST, *HOWS):
        return _registered(level, name, detail, sent)
    finer, coarser = _neighbours(level, sent)
    if name == MIX and finer and coarser:
        return _mixed(finer, coarser, sent, _weights(overall, detail))
    if name == FIT:
        return Restored(FIT, tuple(sent.items()))
    if coarser and (name == COARSER or not finer):
        return Restored(COARSER, ((coarser, sent[coarser]),))
    assert finer is not None  # something is sent
    if name in (FINER, MIX) or not coarser:
        return Restored(FINER, ((finer, sent[finer]),))
    near = _distance(level, finer) <= _distance(level, coarser)
    source = finer if near else coarser
    return Restored(FINER if near else COARSER, ((source, sent[source]),))


def _explicit(
    level: str,
    word: str,
    sent: Mapping[str, Treatment],
    treatments: Mapping[str, Treatment],
    last: str | None,
) -> Restored:
    """What ``LEVEL=HOW`` asks for, to the letter."""
    name, _, detail = word.partition(":")
    if name in RESTORERS.names() and name not in HOWS:
        return _registered(level, name, detail, sent)
    finer, coarser = _neighbours(level, sent)
    if name == SUBSAMPLE and level == last and not detail:
        return Restored(SUBSAMPLE, (("p5", treatments["p5"]),))
    if name == FIT and not detail and level != last:
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
    if name == MIX and finer and coarser:
        return _mixed(finer, coarser, sent, _weights(word, detail))
    source = finer if name == FINER else coarser
    assert source is not None  # refused above
    return Restored(name, ((source, sent[source]),))


def _registered(level: str, name: str, detail: str, sent: Mapping[str, Treatment]) -> Restored:
    """A restoration by a restorer of the user's own, from the levels that it asks for."""
    sources = RESTORERS.get(name)().sources(level, tuple(sent))
    weights = _numbers(f"{name}:{detail}", detail) if detail else ()
    return Restored(name, tuple((source, sent[source]) for source in sources), weights)


def _of_origin(level: str, detail: str, sent: Mapping[str, Treatment]) -> Restored:
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
    finer: str, coarser: str, sent: Mapping[str, Treatment], weights: tuple[float, float]
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
    if name in (MIX, ORIGIN):
        _weights(word, detail)
    elif name not in RESTORERS.names() or name in HOWS:
        raise InputError(f"--restore got {word!r}; give {_RESTORE}")
    elif detail:
        _numbers(word, detail)


def _weights(word: str, detail: str) -> tuple[float, float]:
    numbers = _numbers(word, detail)
    if len(numbers) != 2:
        raise InputError(f"--restore got {word!r}, which has no two weights; give {_RESTORE}")
    return numbers[0], numbers[1]


def _numbers(word: str, detail: str) -> tuple[float, ...]:
    try:
        numbers = tuple(map(float, detail.split(",")))
    except ValueError:
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)):
        raise InputError(f"--restore got {word!r}, which has no two weights; give {_RESTORE}")
    return numbers


def _neighbours(level: str, sent: Mapping[str, Treatment]) -> tuple[str | None, str | None]:
    """The nearest finer and the nearest coarser level that is sent."""
    index = ANY.index(level)
    finer = [one for one in ANY[:index] if one in sent]
    coarser = [one for one in ANY[index + 1 :] if one in sent]
    return finer[-1] if finer else None, coarser[0] if coarser else None


def _distance(one: str, other: str) -> int:
    return abs(ANY.index(one) - ANY.index(other))
