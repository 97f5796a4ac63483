#!/usr/bin/env python3
"""Find the smallest payload that loses no more than is allowed, and the Pareto front.

Reads RESULTS of scope pyramid; with --run, evaluates first what may be better, round after round,
each one pass over the images, in the folder --results-dir, and takes overrides of the
configuration, KEY VALUE, last on the line.
"""

from __future__ import annotations

import early  # noqa: F401  isort: skip

import argparse
import logging
import sys
from dataclasses import replace

from common import (
    GOES_ON,
    RUNS,
    Parser,
    add_common_flags,
    add_overrides,
    check_used,
    find_levels,
    need_fitted,
    open_fitted,
    read_results,
    start,
)
from grammar import check_outputs, number, whole, write_json, write_table
from sweeping import open_sweep

from detectron2_patch.errors import InputError

EPILOG = """\
examples:
  search.py results/demo --max-drop 1.4
  search.py results/demo --max-drop-ap 1 --metric APs --by elements --csv front.csv
  search.py --run --results-dir found --fitted demo.npz --max-drop 1.4
  search.py --run --results-dir found --candidates lines.txt --max-drop 1 MODEL.WEIGHTS FILE
"""
LISTS = ("--restore",)
METRICS = ("AP", "APs", "APm", "APl")
logger = logging.getLogger("search")


def build_parser() -> argparse.ArgumentParser:
    """What is allowed, what is searched, and the flags of every evaluation."""
    parser = Parser(__doc__, EPILOG)
    add = parser.add_argument
    add(
        "results",
        nargs="*",
        metavar="RESULTS",
        help="results: JSON, .json.gz, or folders of them",
    )
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument(
        "--max-drop",
        type=number(0, 100),
        metavar="PERCENT",
        help="of the clean metric that may be lost (1.4)",
    )
    limit.add_argument(
        "--max-drop-ap", type=number(0, 100), metavar="POINTS", help="the same in points"
    )
    add("--metric", choices=METRICS, default="AP", help="what may not drop (AP)")
    add("--by", choices=("bytes", "elements"), default="bytes", help="what is to be small (bytes)")
    add("--csv", metavar="FILE", help="write every point, the front marked")
    add("--json", metavar="FILE", help="the same as JSON, with the best point")
    add(
        "--list",
        metavar="FILE",
        help="write the front's settings as sweep.py --cr-list takes them, to measure them on "
        "images that they weren't chosen on",
    )
    run = parser.add_argument_group("with --run").add_argument
    run("--run", action="store_true", help="evaluate what may be better")
    run("--rounds", type=whole(1), metavar="N", help="passes over the images at most (4)")
    run("--fitted", metavar="FILE", help="fitted parts, made by tools/fit.py")
    run(
        "--restore",
        metavar="HOW",
        help="how levels that aren't sent are made, as train_net.py "
        "takes it (fit with --fitted, else nearest)",
    )
    run(
        "--candidates",
        metavar="FILE",
        help="what may be sent of each of P2 to P5, beside "
        "nothing: a file of settings as sweep.py --cr-list takes it, each level's own part of each",
    )
    run(
        "--bootstrap",
        type=whole(1, ", such as 1000"),
        metavar="N",
        help="give the best point and the clean one AP of N "
        "resamples of the images, and so an interval",
    )
    add_common_flags(parser, "--data")
    add_overrides(parser, shown=False)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return start(build_parser, run, __file__, argv, LISTS, GOES_ON, check_run_flags)


def run(args: argparse.Namespace) -> None:
    """Check, evaluate what is missing where that is asked for, and tell."""
    if args.results and args.run:
        raise InputError(
            f"{args.results[0]} is given with --run, which reads and writes the results of one "
            "folder; name that with --results-dir, or leave --run out"
        )
    words = (args.restore or "").split()
    if any("=" in word or word.startswith("origin") for word in words):
        raise InputError(
            f"--restore {args.restore} doesn't fit everything that may be sent; give "
            "one word for all levels: nearest, finer, coarser, mix:WF,WC or fit"
        )
    check_outputs(
        {"--csv": args.csv, "--json": args.json, "--list": args.list},
        {"--csv": [".csv"], "--json": [".json"], "--list": [".txt"]},
        [*args.results, args.candidates or "", args.fitted or ""],
    )
    if args.max_drop is None and args.max_drop_ap is None:
        args.max_drop = 1.4
    if args.run:
        evaluate(args)

    from detectron2_patch.utils import distributed

    if distributed.rank() == 0:
        report(args, read_results([args.results_dir] if args.run else args.results))


def check_run_flags(args: argparse.Namespace) -> None:
    """Refuse what is of an evaluation where nothing is evaluated."""
    if args.run:
        return
    own = ("results", "max_drop", "max_drop_ap", "metric", "by", "csv", "json", "list", "quiet")
    for name, flag in args.typed.items():
        if name == "results_dir":
            raise InputError(
                f"{flag} {args.results_dir} is where --run writes; to read results, give them as "
                "words: search.py RESULTS"
            )
        if name not in own:
            raise InputError(f"{flag} is for what is evaluated; give --run, too, or leave it out")
    if args.opts:
        raise InputError(
            f"{args.opts[0]} is for what is evaluated; give --run, too, or leave it out"
        )
    if not args.results:
        raise InputError(
            f"no RESULTS; give files or folders of results, such as results/demo or {RUNS}, or "
            "--run to make some"
        )


def candidates(args: argparse.Namespace, fitted) -> dict:
    """What may be sent of each level, or nothing."""
    from detectron2_patch.settings.grids import Base, parse_list, read_list
    from detectron2_patch.settings.levels import wire_levels
    from detectron2_patch.settings.treatments import is_sent

    levels = find_levels(args)
    base = Base(rank_of=None if fitted is None else fitted.rank_of, levels=levels)
    if args.candidates is not None:
        settings = read_list(args.candidates, base)
    else:
        settings = parse_list(default_candidates(fitted, levels[0]), base)
    return {
        level: [None, *(one[i] for one in settings if is_sent(one[i]))]
        for i, level in enumerate(levels)
        if level in wire_levels(levels)
    }


def default_candidates(fitted, level: str = "p2") -> list[str]:
    """Few bits of the channels; where there are principal components, more bits of few of them."""
    if fitted is None:
        return [
            f"--bits {bits} --range {kind}"
            for kind in ("level", "channel")
            for bits in (2, 3, 4, 5)
        ]
    channels = fitted.channels(level)
    ranks = sorted({max(1, channels // part) for part in (8, 4, 2)})
    return [
        *(f"--bits {bits} --range fitted-channel" for bits in (1, 2, 3)),
        *(f"--rank {rank} --bits {bits}" for rank in ranks for bits in (3, 4, 5, 6)),
    ]


def evaluate(args: argparse.Namespace) -> None:
    """Round after round of settings that may be better, until none is."""
    from detectron2_patch.analysis.search import find_points
    from detectron2_patch.results.file import load_results
    from detectron2_patch.settings.grids import plain, with_scopes
    from detectron2_patch.settings.setting import Setting
    from detectron2_patch.sweep import run as sweeping
    from detectron2_patch.sweep.explore import Space, restore_with
    from detectron2_patch.utils import distributed

    fitted = open_fitted(args)
    default = "nearest" if fitted is None else "fit"
    levels = find_levels(args)
    restore = restore_with((args.restore or default).split(), levels)
    space = Space(candidates(args, fitted), restore, args.by)
    sha = "" if fitted is None else fitted.sha256
    settings = with_scopes(
        [plain([1] * len(levels)), *space.alone(), *space.alike()], ["pyramid"], sha, levels
    )
    need_fitted((one for s in settings for one in s.treatments), fitted)
    check_used(args, settings)
    task = open_sweep(args, settings, fitted)
    check_folder_is_of(task)

    def sweep(settings, replicates=0):
        sweeping.run(replace(task, settings=settings, replicates=replicates))
        distributed.barrier()

    best = None
    for count in range(args.rounds or 4):
        sweep(settings)
        found = [
            one for one in load_results(task.folder) if one["setting"].get("fitted") in (None, sha)
        ]
        clean, points = find_points(found, args.metric, args.by)
        now = _best(args, points)
        logger.info(
            "round %d: %d points, best %s",
            count + 1,
            len(points),
            "none" if now is None else f"{now.smaller:.1f} times smaller",
        )
        if best is not None and now is not None and now.cost >= best.cost:
            break
        best = now
        whole = clean["results"]["bbox"][args.metric]
        limit = args.max_drop if args.max_drop is not None else 100 * args.max_drop_ap / whole
        tried = space.together(points) if count == 0 else []
        settings = with_scopes(tried + space.around(points, limit), ["pyramid"], sha, levels)
        if not settings:
            break
    if args.bootstrap is not None and best is not None:
        sweep([Setting.of({}, levels=levels), best.setting], args.bootstrap)


def check_folder_is_of(task) -> None:
    """Make sure, before hours of work, that what is found can be compared with all that lies in
    the folder.

    Raises:
        InputError: there are results of another model or dataset.
    """
    from detectron2_patch.results.file import load_results
    from detectron2_patch.results.identity import models_of

    if not task.folder.is_dir():
        return
    # the origin's files say nothing of their dataset, and are left out of every search
    found = [one for one in load_results(task.folder) if one["dataset"]]
    mine, *theirs = models_of([task.blank(task.settings[0]), *found])
    others = [one for one, model in zip(found, theirs) if model != mine]
    if others:
        other = others[0]
        raise InputError(
            f"{task.folder} holds {len(others)} results of other models or datasets, such as "
            f"{other['dataset']['name']} with {other['weights']['path']} on {other['engine']}; "
            "give a --results-dir of this one"
        )


def _best(args: argparse.Namespace, points: list):
    from detectron2_patch.analysis.search import best

    return best(points, args.max_drop, args.max_drop_ap)


def report(args: argparse.Namespace, results: list) -> None:
    """Print the front and the best point; write the files."""
    from detectron2_patch.analysis.search import find_points, front, row
    from detectron2_patch.analysis.tables import format_front

    clean, points = find_points(results, args.metric, args.by)
    chosen = front(points)
    rows = [row(point, clean, args.metric, point in chosen) for point in points]
    found = _best(args, points)
    write_table(rows, args.csv)
    if args.list is not None:
        write_list(chosen, args.list)
    write_json(document(args, clean, rows, found and rows[points.index(found)]), args.json)
    print(format_front([one for one in rows if one["front"]], args.metric, args.by))
    allowed = (
        f"{args.max_drop:g} % of"
        if args.max_drop is not None
        else f"{args.max_drop_ap:g} points of"
    )
    from detectron2_patch.settings.levels import span, wire_levels

    if found is None:
        print(f"\nnothing within {allowed} {args.metric}")
    else:
        print(
            f"\nsmallest within {allowed} {args.metric}: {found.smaller:.1f} times fewer "
            f"{args.by} than {span(wire_levels(found.setting.levels))}"
            f"{' in fp32' if args.by == 'bytes' else ''}, "
            f"{rate(found)}{args.metric} {found.metric:.1f} ({-found.drop:+.2f} %)\n  "
            f"--scope pyramid {found.words}{_with_fitted(found)}"
        )


def rate(point) -> str:
    """Bits per image pixel, where they are known."""
    from detectron2_patch.settings.cost import bits_per_pixel

    found = bits_per_pixel(point.result)
    return "" if found is None else f"{found:.3g} bits per pixel, "


def _with_fitted(point) -> str:
    sha = point.setting.fitted
    return "" if not sha else f" --fitted FILE (SHA-256 {sha[:12]}…)"


def write_list(points: list, path: str) -> None:
    """The settings of the front, one a line."""
    from detectron2_patch.utils.files import atomic_write

    lines = ["# The front of a search; tools/sweep.py --cr-list reads it."]
    lines += [point.words for point in points]
    with atomic_write(path) as file:
        file.write(("\n".join(lines) + "\n").encode())


def document(args: argparse.Namespace, clean: dict, rows: list[dict], found) -> dict:
    """Every point and the best one."""
    return {
        "kind": "detectron2_patch search",
        "metric": args.metric,
        "by": args.by,
        "max_drop_percent": args.max_drop,
        "max_drop_points": args.max_drop_ap,
        **{key: clean[key] for key in ("dataset", "weights", "engine")},
        "best": found,
        "points": rows,
    }


if __name__ == "__main__":
    sys.exit(main())
