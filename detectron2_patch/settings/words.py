"""A setting as it stands on a command line: which flags it has, read and written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from detectron2_patch.errors import InputError
from detectron2_patch.settings.codecs import ImageCodec, LevelCodec, PyramidCodec
from detectron2_patch.settings.levels import ratio_to_json
from detectron2_patch.settings.parsing import NONE
from detectron2_patch.settings.registry import PYRAMID_FLAGS
from detectron2_patch.settings.restoring import restored
from detectron2_patch.settings.treatments import Restored, Sent, Treatment, is_sent

# The flags of a setting and the arguments of parse_setting that they are.
FLAGS = {
    "--cr": "cr",
    "--send": "send",
    "--restore": "restore",
    "--rank": "rank",
    "--bits": "bits",
    "--range": "range",
    "--level-codec": "level_codec",
    "--pyramid": "pyramid",
    "--image": "image",
}
SCOPE = "--scope"
SINGLE = ("--pyramid", "--image", *PYRAMID_FLAGS)  # flags of one word


def all_flags() -> tuple[str, ...]:
    """``FLAGS`` and those that stand for one codec of the pyramid, such as ``--frames``."""
    return (*FLAGS, *PYRAMID_FLAGS)


_UNSPLIT = ("--level-codec", *SINGLE)  # commas are their arguments' own
_CAPITAL = re.compile(r"\bP(?=[2-6]\b)")


def split_words(flag: str, given: Iterable[str]) -> list[str]:
    """The words of a flag that takes several, with spaces or commas between, levels in either case.

    Before a number of ``mix:0.5,0.5`` a comma separates nothing.

    Raises:
        InputError: there is nothing beside a comma.
    """
    text = " ".join(given)
    if flag in _UNSPLIT:
        return text.split()
    comma = r",(?![-+.\d])" if flag in ("--restore", "--subsets") else ","
    words = [
        part for word in re.sub(r"\s*,\s*", ",", text).split() for part in re.split(comma, word)
    ]
    if "" in words:
        raise InputError(f"{flag} got {text!r}, with nothing beside a comma; give a word there")
    if flag in ("--send", "--restore", "--subsets"):
        words = [_CAPITAL.sub("p", word) for word in words]
    return words


def arguments_of(given: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str] | str]:
    """The arguments of ``parse_setting`` that flags and their words are.

    Raises:
        InputError: two codecs of the pyramid, or other than one word of a flag that takes one.
    """
    found: dict[str, Sequence[str] | str] = {}
    for flag, words in given.items():
        if flag in SINGLE and len(words) != 1:
            raise InputError(
                f"{flag} got {repr(' '.join(words)) if words else 'nothing'}; give one word"
            )
        if flag in PYRAMID_FLAGS or flag == "--pyramid":
            if "pyramid" in found:
                raise InputError(
                    f"{flag} and another codec of the pyramid are given; leave one of them out"
                )
            name = PYRAMID_FLAGS.get(flag)
            found["pyramid"] = words[0] if name is None else f"{name}:{words[0]}"
        else:
            found[FLAGS[flag]] = words[0] if flag in SINGLE else words
    return found


def split_flags(words: Iterable[str], first: str = "--cr") -> dict[str, list[str]]:
    """Each flag's words, as on a command line; those before any flag are ``first``'s.

    Words may have commas between them, and flags ``=`` behind them. ``--scope`` is a flag here,
    too.

    Raises:
        InputError: an unknown flag, one that is given twice, or nothing beside a comma.
    """
    given: dict[str, list[str]] = {}
    flag = first
    for word in words:
        if word.startswith("--"):
            flag, equals, word = word.partition("=")
            if flag not in (*all_flags(), SCOPE):
                raise InputError(f"{flag!r} is no flag of a setting; give {', '.join(all_flags())}")
            if flag in given:
                raise InputError(f"{flag} is given twice; give it once")
            given[flag] = [word] if equals else []
        else:
            given.setdefault(flag, []).append(word)
    return {flag: split_words(flag, parts) for flag, parts in given.items()}


def treatment_words(treatments: Mapping[str, Treatment]) -> str:
    """The words that these treatments are parsed from, as on a command line."""
    first = next(iter(treatments.values()))
    if isinstance(first, ImageCodec):
        return f"--image {first.word}"
    sent = {level: one for level, one in treatments.items() if is_sent(one)}
    whole = next((one for one in sent.values() if isinstance(one, PyramidCodec)), None)
    if whole is not None:  # it says itself which levels it carries
        return " ".join([*_restored(sent, treatments), *_pyramid(whole)])
    words = _ratios(sent, tuple(treatments))
    if len(sent) < len(treatments):
        words += ["--send", *sent, *_restored(sent, treatments, always=True)]
    for key in ("rank", "bits", "range"):
        values = {level: getattr(one, key, "") or NONE for level, one in sent.items()}
        words += _five(f"--{key}", values, tuple(treatments))
    codecs = {
        level: one.word if isinstance(one, LevelCodec) else NONE for level, one in sent.items()
    }
    return " ".join([*words, *_five("--level-codec", codecs, tuple(treatments))])


def _restored(
    sent: Mapping[str, Treatment], treatments: Mapping[str, Treatment], always: bool = False
) -> list[str]:
    """``--restore``, where it says something that goes not without saying."""
    if not always and restored(sent, (), tuple(treatments)) == dict(treatments):
        return []
    return [
        "--restore",
        *(
            f"{level}={_how_word(one)}"
            for level, one in treatments.items()
            if isinstance(one, Restored)
        ),
    ]


def _ratios(sent: Mapping[str, Treatment], levels: Sequence[str]) -> list[str]:
    ratios = [getattr(sent.get(level), "ratio", 1.0) for level in levels]
    plain = len(sent) == len(levels) and all(isinstance(one, Sent) for one in sent.values())
    if not plain and all(ratio == 1 for ratio in ratios):
        return []
    return ["--cr", *(str(ratio_to_json(ratio)) for ratio in ratios)]


def _five(flag: str, values: Mapping[str, object], levels: Sequence[str]) -> list[str]:
    """One word where all sent levels have it, else one a level; nothing where none has one."""
    given = set(values.values())
    if given <= {NONE}:
        return []
    if len(given) == 1:
        return [flag, str(next(iter(given)))]
    return [flag, *(str(values.get(level, NONE)) for level in levels)]


def _pyramid(codec: PyramidCodec) -> list[str]:
    name, _, arguments = codec.word.partition(":")
    flag = next((flag for flag, one in PYRAMID_FLAGS.items() if one == name), None)
    return ["--pyramid", codec.word] if flag is None else [flag, arguments]


def _how_word(one: Restored) -> str:
    if one.weights:
        return f"{one.how}:{','.join(f'{weight!r}' for weight in one.weights)}"
    return one.how
