"""Lists of settings: grids, one level at a time, pairs, subsets, and lists from a file."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path
from typing import Any, NamedTuple

from detectron2_patch.errors import InputError
from detectron2_patch.settings.codecs import ImageCodec, PyramidCodec
from detectron2_patch.settings.levels import LEVELS, parse_cr, ratio_to_json
from detectron2_patch.settings.parsing import (
    NONE,
    RankOf,
    parse_send,
    parse_setting,
)
from detectron2_patch.settings.restoring import restored
from detectron2_patch.settings.setting import RPN, Setting, Treatments
from detectron2_patch.settings.treatments import Sent, is_sent
from detectron2_patch.settings.words import arguments_of, split_flags


def plain(ratios: Iterable[float]) -> Treatments:
    """All five levels sent at these ratios."""
    return tuple(Sent(float(ratio)) for ratio in ratios)


@dataclass(frozen=True)
class Base:
    """The words that all settings of a list share, as ``parsing.parse_setting`` takes them.

    ``ratios``, ``ranks``, ``bits`` and ``ranges`` are a word a level, ``-`` where they say
    nothing (empty: nothing of any level); all alike are those of the sent levels. ``one`` makes the
    treatments of any other choice of them.
    """

    send: tuple[str, ...] | None = None
    restore: tuple[str, ...] | None = None
    ratios: tuple = ()
    ranks: tuple = ()
    bits: tuple = ()
    ranges: tuple = ()
    rank_of: RankOf | None = None
    levels: tuple[str, ...] = LEVELS

    def __post_init__(self) -> None:
        for name, word in (("ratios", 1), ("ranks", NONE), ("bits", NONE), ("ranges", NONE)):
            if not getattr(self, name):
                object.__setattr__(self, name, (word,) * len(self.levels))

    def one(self, **words) -> Treatments:
        """The treatments of these words, some of them others than the base's."""
        base = replace(self, **words)
        sent = parse_send(base.send, base.restore, base.levels)
        ranks, bits = (_of_sent(words, sent, base.levels) for words in (base.ranks, base.bits))
        ranges = [NONE if width == NONE else one for width, one in zip(bits, base.ranges)]
        ratios = [ratio_to_json(ratio) for ratio in base.ratios]
        return tuple(
            parse_setting(
                ratios,
                base.send,
                base.restore,
                ranks,
                bits,
                None if set(ranges) == {NONE} else ranges,
                rank_of=base.rank_of,
                levels=base.levels,
            ).values()
        )

    @property
    def sent(self) -> list[int]:
        """Numbers of the levels that are sent."""
        treatments = self.one(ratios=(1,) * len(self.levels))
        return [i for i, one in enumerate(treatments) if isinstance(one, Sent)]


def _of_sent(words: Sequence[str], sent: Sequence[str], levels: Sequence[str]) -> list[str]:
    """Words that are alike, said of the sent levels alone; others as they are."""
    if len(set(words)) > 1:
        return list(words)
    return [word if level in sent else NONE for level, word in zip(levels, words)]


class Reduction(NamedTuple):
    """What a level is reduced by: a value of each kind, None where the base's stays."""

    ratio: float | None = None
    rank: str | None = None
    bits: str | None = None
    range: str | None = None


_KINDS = ("ratios", "ranks", "bits", "ranges")


def reduced(base: Base, levels: Iterable[int], reduction: Reduction) -> Treatments:
    """The base with some levels reduced."""
    words = {kind: list(getattr(base, kind)) for kind in _KINDS}
    for kind, value in zip(_KINDS, reduction):
        for level in levels:
            if value is not None:
                words[kind][level] = value
    return base.one(**{kind: tuple(values) for kind, values in words.items()})


def grid(
    values: Mapping[str, Sequence[float]],
    base: Base = Base(),
    reductions: Sequence[Reduction] = (Reduction(),),
) -> list[Treatments]:
    """Every combination of each sent level's ratios, with each reduction of all levels in turn.

    A level without values keeps the base's ratio. P6 runs fastest, of the reductions each grid.
    """
    sent = base.sent
    found = []
    for reduction in reductions:
        for ratios in product(
            *(
                values.get(level, (base.ratios[i],)) if i in sent else (1,)
                for i, level in enumerate(base.levels)
            )
        ):
            found.append(reduced(replace(base, ratios=ratios), sent, reduction))
    return found


def one_at_a_time(reductions: Sequence[Reduction], base: Base = Base()) -> list[Treatments]:
    """The base, then each sent level alone with each reduction."""
    return [base.one(), *(reduced(base, [i], one) for i in base.sent for one in reductions)]


def pairs(reductions: Sequence[Reduction], base: Base = Base()) -> list[Treatments]:
    """The base, then every two sent levels together with each reduction."""
    return [
        base.one(),
        *(reduced(base, both, one) for both in combinations(base.sent, 2) for one in reductions),
    ]


def subsets(
    restores: Sequence[str],
    base: Base = Base(),
    reductions: Sequence[Reduction] = (Reduction(),),
) -> list[Treatments]:
    """Each non-empty subset of the levels sent, with each of the restorers and reductions.

    The origin's method, which sends P3 and P5 alone, counts for that subset.
    """
    found = []
    for count in range(len(base.levels), 0, -1):
        for send in combinations(base.levels, count):
            for restore in restores:
                if restore.startswith("origin") and send != ("p3", "p5"):
                    continue
                of_send = replace(base, send=send, restore=(restore,))
                found += [reduced(of_send, of_send.sent, one) for one in reductions]
    return found


def combine(
    settings: Sequence[Treatments], restore: Sequence[str] = (), levels: Sequence[str] = LEVELS
) -> list[Treatments]:
    """Every combination of what the settings send of each level, at least one level sent.

    A level that one of them doesn't send is left out in some combinations, and restored by the
    words of ``--restore``.

    Raises:
        InputError: a setting codes several levels, or the image, at once.
    """
    for treatments in settings:
        for one in treatments:
            if isinstance(one, PyramidCodec | ImageCodec):
                raise InputError(
                    f"{one.word} codes all at once; combine settings that code level by level"
                )
    parts = [
        list(dict.fromkeys(one[i] if is_sent(one[i]) else None for one in settings))
        for i in range(len(levels))
    ]
    found = []
    for choice in product(*parts):
        sent = {level: one for level, one in zip(levels, choice) if one is not None}
        if sent:
            found.append(tuple(restored(sent, restore, levels).values()))
    return found


def read_list(path: str | Path, base: Base = Base()) -> list[Treatments]:
    """Settings from a file: one a line as ``--cr`` takes it, ``#`` starts a comment.

    The ratios may be followed, or replaced, by more flags of a setting: ``--send p3 p5 --bits 4``;
    what a line doesn't say is the base's.

    Raises:
        InputError: the file can't be read, or a line holds no setting; names the line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:  # no text, or a name that none can have
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(f"{path}: {reason}; give a file of one setting a line") from error
    try:
        found = parse_list(lines, base)
    except InputError as error:
        raise InputError(f"{path}, {error}") from error
    if not found:
        raise InputError(f"{path} holds no setting; write one a line, such as 1 1 1 1 4")
    return found


def parse_list(lines: Iterable[str], base: Base = Base()) -> list[Treatments]:
    """Settings from lines as ``read_list`` takes them.

    Raises:
        InputError: a line holds no setting; names its number.
    """
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            words = shlex.split(line, comments=True)
            if words:
                found.append(_read_line(words, base))
        except ValueError as error:  # InputError is one
            raise InputError(f"line {number}: {error}") from error
    return found


def _read_line(words: Sequence[str], base: Base) -> Treatments:
    given = split_flags(words)
    if "--scope" in given:
        raise InputError("--scope is of the whole list; give it on the command line")
    own = arguments_of(given)
    if "image" in own:
        return tuple(parse_setting(**own, levels=base.levels).values())  # type: ignore[arg-type]
    if own.keys() <= {"cr"}:
        return base.one(ratios=list(parse_cr(own.get("cr", base.ratios), base.levels).values()))
    if not own.get("cr"):
        own["cr"] = list(base.ratios)
    of_base: dict[str, Any] = {
        "send": base.send,
        "restore": base.restore,
        "rank": base.ranks,
        "bits": base.bits,
        "range": base.ranges,
    }
    send, restore = own.get("send", base.send), own.get("restore", base.restore)
    sent = parse_send(send, restore, base.levels)  # type: ignore[arg-type]
    for name in ("rank", "bits", "range"):
        of_base[name] = _of_sent(of_base[name], sent, base.levels)
    said = {
        name: words for name, words in of_base.items() if words is not None and set(words) != {NONE}
    }
    given_words: dict[str, Any] = {**said, **own}
    return tuple(parse_setting(**given_words, rank_of=base.rank_of, levels=base.levels).values())


def codecs(kind: str, words: Iterable[str], base: Base = Base()) -> list[Treatments]:
    """A setting for each word of ``--image``, ``--pyramid`` or the flag of a pyramid's codec."""
    return [_read_line([kind, word], base) for word in words]


def with_scopes(
    treatments: Iterable[Treatments],
    scopes: Sequence[str],
    fitted: str = "",
    levels: tuple[str, ...] = LEVELS,
) -> list[Setting]:
    """Each list of treatments in each scope, every setting once, in the order given.

    A coded image has no scope rpn: with both asked for, it comes in the other one alone.
    """
    once = list(dict.fromkeys(treatments))
    return list(
        dict.fromkeys(
            Setting(one, scope, fitted, levels)
            for scope in scopes
            for one in once
            if not (isinstance(one[0], ImageCodec) and scope == RPN and len(scopes) > 1)
        )
    )
