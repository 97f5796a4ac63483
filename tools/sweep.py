#!/usr/bin/env python3
"""Evaluate many settings in one pass: one JSON a setting, as train_net.py would write it."""

from __future__ import annotations

import early  # noqa: F401  isort: skip

import argparse
import logging
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product

from common import (
    GOES_ON,
    SETTING_FLAGS,
    Parser,
    add_common_flags,
    add_overrides,
    add_setting_flags,
    check_used,
    find_levels,
    has_no_rpn,
    need_fitted,
    open_fitted,
    start,
)
from grammar import whole
from sweeping import open_sweep

from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import SCOPES, parse_ratio
from detectron2_patch.settings.registry import IMAGE_CODECS, PYRAMID_FLAGS

EPILOG = """\
examples:
  sweep.py --grid 1 2 4 8 16 --scope rpn pyramid    the demo, 6,250 settings
  sweep.py --one-at-a-time 2 4 8 16 max             each level alone
  sweep.py --pairs max                              every two levels together
  sweep.py --grid-p2 1 2 4 8 --grid-p3 1 2 4        P2 against P3, the others clean
  sweep.py --one-at-a-time 1 2 4 --grid-bits - 2 3 4 8 --scope pyramid
                                                    each level alone: ratios x bits
  sweep.py --subsets nearest finer coarser mix:0.5,0.5 fit --fitted FILE --scope pyramid
                                                    every subset sent, five restorers
  sweep.py --grid 1 max --scope rpn pyramid --bootstrap 1000    for tools/key_levels.py
  sweep.py --image jpeg:50 jpeg:75 avif:50 --scope pyramid      the image itself, coded
  sweep.py --cr-list settings.txt --config-file FILE MODEL.WEIGHTS FILE
A sweep that was stopped goes on with the same command.
"""
GRIDS = ("p2", "p3", "p4", "p5", "p6", "p7")  # levels that a detector may have
MOST = 40  # rows that are shown
RPN, PYRAMID = SCOPES
LISTS = (
    "--grid",
    *(f"--grid-{level}" for level in GRIDS),
    "--one-at-a-time",
    "--pairs",
    "--subsets",
    "--grid-rank",
    "--grid-bits",
    "--grid-range",
    "--scope",
    *(flag for flag in SETTING_FLAGS if flag != "--cr"),
)
logger = logging.getLogger("sweep")


def build_parser() -> argparse.ArgumentParser:
    """Flags that choose settings, and those of train_net.py."""
    parser = Parser(
        __doc__,
        EPILOG,
        cr="--grid, --one-at-a-time, --pairs, or --cr-list FILE",
        data="--test-data JSON IMAGES",
    )
    choose = parser.add_argument_group("settings, each flag adding its own").add_argument
    choose("--grid", metavar="RATIO", help="every combination of these ratios on all sent levels")
    for level in GRIDS:
        choose(
            f"--grid-{level}",
            metavar="RATIO",
            help=f"the grid's ratios of {level.upper()}, instead of --grid's or 1",
        )
    choose("--one-at-a-time", metavar="RATIO", help="each level alone at each of these ratios")
    choose("--pairs", metavar="RATIO", help="every two levels together at each of these ratios")
    choose(
        "--subsets",
        metavar="HOW",
        help="each of the 31 subsets of levels sent, the others "
        "restored in each of these ways, as --restore takes them",
    )
    choose(
        "--cr-list",
        metavar="FILE",
        help="a file with one setting a line, as --cr takes it; "
        "--send, --restore, --rank, --bits and --range may follow",
    )
    choose(
        "--combine",
        metavar="FILE",
        help="every combination of what the settings of such a file send of each level",
    )
    choose(
        "--image",
        metavar="CODEC",
        help="the image coded by each of these, such as jpeg:75 avif:50 (scope pyramid)",
    )
    also = parser.add_argument_group(
        "more of each setting above: on every level of a grid or subset, on the one or two levels "
        "that --one-at-a-time and --pairs reduce"
    ).add_argument
    also("--grid-rank", metavar="K", help="each of these ranks, as --rank takes one; '-' is none")
    also("--grid-bits", metavar="B", help="each of these bits, as --bits takes one; '-' is float32")
    also("--grid-range", metavar="R", help="each of these ranges, as --range takes one")
    add_setting_flags(parser.add_argument_group("what all settings share"))
    add = parser.add_argument
    add(
        "--scope",
        metavar="SCOPE",
        help="rpn (default), pyramid, or both words; of a detector without an RPN pyramid alone",
    )
    add(
        "--batch-size",
        type=whole(1),
        metavar="N",
        help="images of one padded size that go through the network together (1; 8 on a GPU)",
    )
    add("--overwrite", action="store_true", help="do settings again that have a result")
    add(
        "--bootstrap",
        type=whole(1, ", such as 1000"),
        metavar="N",
        help="give each result AP of N resamples of the images, too, for intervals (1000)",
    )
    add("--dry-run", action="store_true", help="list the settings and stop")
    add_common_flags(parser)
    add_overrides(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return start(build_parser, run, __file__, argv, LISTS, GOES_ON)


def choose_settings(args: argparse.Namespace, fitted) -> list:
    """The settings that the flags ask for, each once.

    Raises:
        InputError: no setting is asked for, or a word, a scope or a list is bad.
    """
    from detectron2_patch.settings import grids as settings

    with as_typed(args):
        found = listed_settings(args, fitted)
    sha = "" if fitted is None else fitted.sha256
    made = settings.with_scopes(found, _scopes(args), sha, find_levels(args))
    for one in {treatment for setting in made for treatment in setting.treatments}:
        getattr(one, "check", lambda: None)()
    return made


@contextmanager
def as_typed(args: argparse.Namespace) -> Iterator[None]:
    """Let a refusal name the flag of the line, which lends its words to another."""
    try:
        yield
    except InputError as error:
        lent = {"--restore": "--subsets"}
        lent |= {f"--{kind}": f"--grid-{kind}" for kind in ("rank", "bits", "range")}
        for flag, typed in lent.items():
            if str(error).startswith(f"{flag} ") and not _given(args, flag) and _given(args, typed):
                raise InputError(typed + str(error).removeprefix(flag)) from error
        raise


def listed_settings(args: argparse.Namespace, fitted) -> list:
    """The treatments that the flags ask for, each once a mode."""
    from detectron2_patch.settings import grids as settings

    base = make_base(args, fitted)
    found = []
    values = {
        level: _ratios(given, f"--grid-{level}" if own is not None else "--grid")
        for level in base.levels
        for own in [getattr(args, f"grid_{level}")]
        for given in [args.grid if own is None else own]
        if given is not None
    }
    if values:
        found += settings.grid(values, base, _reductions(args))
    if args.one_at_a_time is not None:
        ratios = _ratios(args.one_at_a_time, "--one-at-a-time")
        found += settings.one_at_a_time(_reductions(args, ratios), base)
    if args.pairs is not None:
        found += settings.pairs(_reductions(args, _ratios(args.pairs, "--pairs")), base)
    if args.subsets is not None:
        found += settings.subsets(_each_once(args.subsets, "--subsets"), base, _reductions(args))
    if args.cr_list is not None:
        found += settings.read_list(args.cr_list, base)
    if args.combine is not None:
        found += settings.combine(
            settings.read_list(args.combine, base), base.restore or (), base.levels
        )
    if args.image is not None:
        found += settings.codecs("--image", _each_once(args.image, "--image"))
    for flag in ("--pyramid", *PYRAMID_FLAGS):
        words = getattr(args, flag[2:])
        if words is not None:
            found += settings.codecs(flag, _each_once(words, flag), base)
    if not found:
        raise InputError(
            "no settings: give --grid, --grid-p2 … --grid-p6, --one-at-a-time, --pairs, --subsets, "
            "--cr-list, --combine, --image or a codec of the pyramid; see --help"
        )
    return found


def check_modes(args: argparse.Namespace) -> None:
    """Refuse flags that no mode of the line uses."""
    ratios = ["--grid", *(f"--grid-{level}" for level in GRIDS)]
    reducing = [*ratios, "--one-at-a-time", "--pairs", "--subsets"]
    others = ["--cr-list", "--combine", "--pyramid", *PYRAMID_FLAGS]
    given = {flag for flag in [*reducing, *others, "--image"] if _given(args, flag)}
    if not given:
        return  # told as such
    for flag in ("--grid-rank", "--grid-bits", "--grid-range"):
        if _given(args, flag) and not given.intersection(reducing):
            raise InputError(
                f"{flag} is of --grid, --one-at-a-time, --pairs and --subsets; give one of them, "
                "or leave it out"
            )
    for flag in ("--send", "--restore", "--rank", "--bits", "--range"):
        if _given(args, flag) and given == {"--image"}:
            raise InputError(f"{flag} is of maps, and --image sends none; leave one of them out")
    if args.level_codec is not None:
        raise InputError("--level-codec stands in the lines of --cr-list in a sweep; give it there")
    whole = given <= {*ratios, "--subsets"}  # where --grid-bits is of every level that is sent
    for kind in ("bits", "rank", "range"):
        if whole and _given(args, f"--{kind}") and _given(args, f"--grid-{kind}"):
            raise InputError(
                f"--grid-{kind} leaves nothing of --{kind} here; leave one of them out"
            )


def _given(args: argparse.Namespace, flag: str) -> bool:
    return getattr(args, flag[2:].replace("-", "_")) is not None


def make_base(args: argparse.Namespace, fitted):
    """What all settings share."""
    from detectron2_patch.settings.grids import Base
    from detectron2_patch.settings.parsing import NONE
    from detectron2_patch.settings.words import split_words

    for flag, text in (("--range", args.range), ("--grid-range", args.grid_range)):
        if text is not None and args.bits is None and args.grid_bits is None:
            raise InputError(f"{flag} is that of a quantisation; give --bits or --grid-bits, too")
    for flag in ("--bits", "--rank", "--range", "--send", "--restore"):
        if getattr(args, flag[2:]) == "":
            raise InputError(f"{flag} got no word; give one or more, see --help")
    check_modes(args)
    if args.subsets is not None and (args.send or args.restore):
        raise InputError(
            "--subsets says what is sent and how the rest is restored; leave --send "
            "and --restore out"
        )
    words = (args.restore or "").split()
    if args.combine is not None and any("=" in word or word.startswith("origin") for word in words):
        raise InputError(
            f"--restore {args.restore} doesn't fit every combination; with --combine "
            "give one word for all levels: nearest, finer, coarser, mix:WF,WC or fit"
        )

    levels = find_levels(args)
    for level in GRIDS:
        if level not in levels and getattr(args, f"grid_{level}") is not None:
            raise InputError(f"--grid-{level}: the detector's levels are {', '.join(levels)}")
        if args.send and getattr(args, f"grid_{level}") is not None:
            if level not in split_words("--send", [args.send]):
                raise InputError(f"--grid-{level}: {level} is not among what --send names; send it")

    def five(flag: str) -> tuple[str, ...]:
        text = getattr(args, flag[2:])
        words = [NONE] if text is None else _words(text, flag)
        return tuple(words * len(levels) if len(words) == 1 else words)

    return Base(
        *(
            None if text is None else tuple(_words(text, flag))
            for flag, text in (("--send", args.send), ("--restore", args.restore))
        ),
        ranks=five("--rank"),
        bits=five("--bits"),
        ranges=five("--range"),
        rank_of=None if fitted is None else fitted.rank_of,
        levels=levels,
    )


def _reductions(args: argparse.Namespace, ratios: Sequence[float | None] = (None,)) -> list:
    from detectron2_patch.settings.grids import Reduction

    kinds = [
        [None] if text is None else _each_once(text, flag)
        for text, flag in (
            (args.grid_rank, "--grid-rank"),
            (args.grid_bits, "--grid-bits"),
            (args.grid_range, "--grid-range"),
        )
    ]
    return [Reduction(*words) for words in product(ratios, *kinds)]


def _words(text: str, flag: str) -> list[str]:
    from detectron2_patch.settings.words import split_words

    if not text.split():
        raise InputError(f"{flag} got nothing; give one word or more, see --help")
    if flag == "--image":  # a comma before another codec's name
        text = re.sub(rf",(?=(?:{'|'.join(IMAGE_CODECS.names())}):)", " ", text)
    return split_words(flag, [text])


def _each_once(text: str, flag: str) -> list[str]:
    """The words of a flag each of which makes settings of its own."""
    words = _words(text, flag)
    twice = [word for word in words if words.count(word) > 1]
    if twice:
        raise InputError(f"{flag} got {twice[0]} more than once; give each once")
    return words


def _ratios(text: str, flag: str) -> list[float]:
    use = "one ratio or more, each a number >= 1 or 'max'"
    if not text.split():
        raise InputError(f"{flag} got no ratio; give {use}")
    return [parse_ratio(word, flag, use) for word in _each_once(text, flag)]


def _scopes(args: argparse.Namespace) -> list[str]:
    dense = has_no_rpn(args)
    if args.scope is None:
        return [PYRAMID if dense else RPN]
    words = _each_once(args.scope, "--scope") if args.scope.split() else []
    unknown = [word for word in words if word not in SCOPES]
    if unknown or not words:
        raise InputError(
            f"--scope got {' '.join(unknown) or 'nothing'!r}; give rpn, pyramid, or rpn pyramid"
        )
    if dense and RPN in words:
        raise InputError(
            "--scope rpn: the detector has no RPN, and all its heads read the same maps; give "
            "pyramid, or leave --scope out"
        )
    return words


def run(args: argparse.Namespace) -> None:
    """Check everything that can be checked in seconds, then sweep."""
    fitted = open_fitted(args)
    settings = choose_settings(args, fitted)
    need_fitted((one for setting in settings for one in setting.treatments), fitted)
    check_used(args, settings)
    if args.dry_run:
        for one in settings:
            print(one.scope, one.words)
        made = {pair for one in settings for pair in one.by_level().items()}
        logger.info("%d settings from %d treatments of single levels", len(settings), len(made))
        return

    from detectron2_patch.sweep import run as sweeping

    given = {} if args.batch_size is None else {"batch_size": args.batch_size}
    task = open_sweep(
        args,
        settings,
        fitted,
        overwrite=args.overwrite,
        replicates=args.bootstrap or 0,
        **given,
    )
    done = sweeping.run(task)
    if done is not None:  # rank 0 has it
        report(args, done)
        show(task)


def show(task) -> None:
    """Print the results as a table, of many those that change fewest levels, and say what next."""
    from detectron2_patch.analysis.tables import format_settings
    from detectron2_patch.results.file import load_file
    from detectron2_patch.results.identity import result_name
    from detectron2_patch.settings.treatments import CLEAN

    few = sorted(task.settings, key=lambda one: sum(t != CLEAN for t in one.treatments))[:MOST]
    paths = [task.folder / result_name(task.blank(one)) for one in few]
    print(format_settings([result for path in paths for result in load_file(path)]))
    if len(few) < len(task.settings):
        print(f"\nthese change fewest levels; {len(task.settings)} settings are in {task.folder}")
    honest = any(one.scope == PYRAMID for one in task.settings)
    logger.info(
        "next: python tools/%s %s%s",
        "search.py" if honest else "show_results.py",
        shlex.quote(str(task.folder)),
        " --max-drop 1.4" if honest else "",
    )


def report(args: argparse.Namespace, done) -> None:
    """Say on stderr what was written and where the time went."""
    logger.info(
        "wrote %d results to %s, %d were there already",
        done.written,
        args.results_dir,
        done.skipped,
    )
    if done.seconds:
        logger.info(
            "seconds: %s; %d boxes through the box head",
            ", ".join(f"{part} {s:.1f}" for part, s in done.seconds.items()),
            done.rows,
        )


if __name__ == "__main__":
    sys.exit(main())
