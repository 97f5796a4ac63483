#!/usr/bin/env python3
"""Find the smallest payload that loses no more than is allowed, and the Pareto front.

Reads the results of --results-dir that are of scope pyramid; with --run, evaluates settings that may
be better first, round after round, each one pass over the images.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import logging
import sys
from itertools import product
from pathlib import Path

from common import (
    add_common_flags,
    check_fitted,
    describer,
    find_weights,
    join_words,
    open_fitted,
    prepare,
    start,
)

from detectron2_patch.errors import InputError

EPILOG = """\
examples:
  search.py --max-drop 1.4 --results-dir results/demo
  search.py --max-drop-ap 1 --metric APs --by elements --csv front.csv
  search.py --run --fitted demo.npz --max-drop 1.4 --results-dir found
  search.py --run --grid-ratio 1 2 --grid-bits 3 4 --grid-range level channel --max-drop 1
"""
LISTS = ("--restore", "--grid-ratio", "--grid-rank", "--grid-bits", "--grid-range")
METRICS = ("AP", "APs", "APm", "APl")
logger = logging.getLogger("search")


def build_parser() -> argparse.ArgumentParser:
    """What is allowed, what is searched, and the flags of every evaluation."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--max-drop", type=float, metavar="PERCENT",
                       help="of the clean metric that may be lost (1.4)")
    limit.add_argument("--max-drop-ap", type=float, metavar="POINTS", help="the same in points")
    add("--metric", choices=METRICS, default="AP", help="what may not drop (AP)")
    add("--by", choices=("bytes", "elements"), default="bytes", help="what is to be small (bytes)")
    add("--csv", metavar="FILE", help="write every point, the front marked")
    add("--json", metavar="FILE", help="the same as JSON, with the best point")
    run = parser.add_argument_group("with --run").add_argument
    run("--run", action="store_true", help="evaluate what may be better")
    run("--rounds", type=int, default=4, metavar="N", help="passes over the images at most (4)")
    run("--fitted", metavar="FILE", help="fitted parts, made by tools/fit.py")
    run("--restore", metavar="HOW", help="how levels that aren't sent are made, as train_net.py "
        "takes it (fit with --fitted, else nearest)")
    run("--grid-ratio", metavar="R", help="ratios to try on each of P2 to P5 (1)")
    run("--grid-rank", metavar="K", help="ranks to try ('-', and max with --fitted)")
    run("--grid-bits", metavar="B", help="bits to try (2 3 4 5; 4 5 6 7 with a rank)")
    run("--grid-range", metavar="R", help="ranges to try (level channel; level with a rank)")
    add_common_flags(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    args = build_parser().parse_args(join_words(argv, LISTS))
    try:
        return start(run, args, [__file__, *argv])
    except KeyboardInterrupt:
        print("interrupted; what is finished is kept: the same command goes on", file=sys.stderr)
        return 1


def run(args: argparse.Namespace) -> None:
    """Check, evaluate what is missing where that is asked for, and tell."""
    for flag, value in (("--max-drop", args.max_drop), ("--max-drop-ap", args.max_drop_ap)):
        if value is not None and not value >= 0:
            raise InputError(f"{flag} is {value:g}; give a number from 0 on")
    if args.rounds < 1:
        raise InputError(f"--rounds is {args.rounds}; give a whole number from 1 on")
    if args.max_drop is None and args.max_drop_ap is None:
        args.max_drop = 1.4
    if args.run:
        evaluate(args)

    from detectron2_patch import distributed
    from detectron2_patch.results import load_results

    if distributed.rank() == 0:
        report(args, load_results(args.results_dir))


def candidates(args: argparse.Namespace, fitted) -> dict:
    """What may be sent of each of P2 to P5, or nothing."""
    from detectron2_patch.ratios import LEVELS
    from detectron2_patch.words import NONE, parse_setting

    def words(text: str | None, default: str) -> list[str]:
        found = (default if text is None else text).split()
        if not found:
            raise InputError("a list of candidates is empty; give one word or more, see --help")
        return found

    found: dict = {level: [None] for level in LEVELS[:4]}
    for rank in words(args.grid_rank, NONE if fitted is None else f"{NONE} max"):
        plain = rank == NONE
        choices = product(
            words(args.grid_ratio, "1"),
            words(args.grid_bits, "2 3 4 5" if plain else "4 5 6 7"),
            words(args.grid_range, "level channel" if plain else "level"),
        )
        for ratio, bits, range_ in choices:
            treatments = parse_setting(
                [ratio] * 5, rank=[rank], bits=[bits], range=None if bits == NONE else [range_],
                rank_of=None if fitted is None else fitted.rank_of,
            )
            for level, several in found.items():
                several.append(treatments[level])
    return found


def evaluate(args: argparse.Namespace) -> None:
    """Round after round of settings that may be better, until none is."""
    from detectron2_patch import distributed
    from detectron2_patch.results import load_results, make_setting
    from detectron2_patch.search import find_points
    from detectron2_patch.sweep import run as sweeping
    from detectron2_patch.sweep.explore import Space, restore_with
    from detectron2_patch.sweep.settings import plain, with_scopes
    from detectron2_patch.sweep.task import Sweep

    fitted = open_fitted(args)
    default = "nearest" if fitted is None else "fit"
    space = Space(candidates(args, fitted), restore_with((args.restore or default).split()))
    settings = with_scopes([plain([1] * 5), *space.alone()], ["pyramid"])
    cfg, engine, dataset = prepare(args)
    weights = find_weights(args, cfg)
    check_fitted((one for s in settings for one in s.treatments), fitted, weights, dataset)
    engine.load_weights(weights)
    constant = describer(vars(args), cfg, engine, dataset, weights)

    def describe(setting, results, payload, seconds):
        sha = None if fitted is None else fitted.sha256
        return constant(setting=make_setting(setting.by_level(), setting.scope, sha),
                        results=results, payload=payload, seconds=seconds)

    folder = Path(args.results_dir)
    on_cpu = engine.model.device.type == "cpu"
    best = None
    for number in range(args.rounds):
        sweeping.run(Sweep(
            engine, dataset, settings, describe, folder, batch_size=1 if on_cpu else 8,
            readers=cfg.DATALOADER.NUM_WORKERS, fitted=fitted,
        ))
        distributed.barrier()
        clean, points = find_points(load_results(folder), args.metric)
        now = _best(args, points)
        logger.info("round %d: %d points, best %s", number + 1, len(points),
                    "none" if now is None else f"{now.smaller:.1f} times smaller")
        if best is not None and now is not None and now.cost >= best.cost:
            break
        best = now
        whole = clean["results"]["bbox"][args.metric]
        limit = args.max_drop if args.max_drop is not None else 100 * args.max_drop_ap / whole
        found = space.together(points) if number == 0 else []
        settings = with_scopes(found + space.around(points, limit), ["pyramid"])


def _best(args: argparse.Namespace, points: list):
    from detectron2_patch.search import best

    return best(points, args.max_drop, args.max_drop_ap)


def report(args: argparse.Namespace, results: list) -> None:
    """Print the front and the best point; write the files."""
    from detectron2_patch.search import find_points, front, row
    from detectron2_patch.tables import format_front

    clean, points = find_points(results, args.metric, args.by)
    chosen = front(points)
    rows = [row(point, clean, args.metric, point in chosen) for point in points]
    found = _best(args, points)
    if args.csv is not None:
        write_csv(rows, args.csv)
    if args.json is not None:
        write_json(args, clean, rows, found and rows[points.index(found)], args.json)
    print(format_front([one for one in rows if one["front"]], args.metric, args.by))
    allowed = (f"{args.max_drop:g} % of" if args.max_drop is not None
               else f"{args.max_drop_ap:g} points of")
    if found is None:
        print(f"\nnothing within {allowed} {args.metric}")
    else:
        print(f"\nsmallest within {allowed} {args.metric}: {found.smaller:.1f} times fewer "
              f"{args.by} than P2 to P5{' in fp32' if args.by == 'bytes' else ''}, "
              f"{args.metric} {found.metric:.1f} ({-found.drop:+.2f} %)\n  "
              f"--scope pyramid {found.words}")


def write_csv(rows: list[dict], path: str) -> None:
    """Every point, a row each."""
    from detectron2_patch.files import atomic_write

    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def write_json(args: argparse.Namespace, clean: dict, rows: list[dict], found, path: str) -> None:
    """Every point and the best one."""
    from detectron2_patch.files import atomic_write

    document = {
        "kind": "detectron2_patch search", "metric": args.metric, "by": args.by,
        "max_drop_percent": args.max_drop, "max_drop_points": args.max_drop_ap,
        **{key: clean[key] for key in ("dataset", "weights", "engine")},
        "best": found, "points": rows,
    }
    with atomic_write(path) as file:
        file.write((json.dumps(document, indent=1, allow_nan=False) + "\n").encode("ascii"))


if __name__ == "__main__":
    sys.exit(main())
