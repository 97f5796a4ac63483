#!/usr/bin/env python3
"""Rate and distortion: what each way to send costs in bits per image pixel at equal AP.

For each family (an image codec, coded frames, levels by ratio, bits, rank): bits per pixel at 0.5,
1, 1.4 and 5 percent lost, then Bjontegaard's deltas against the anchor, with 95 % intervals where
the results hold resamples of the images.
"""

from __future__ import annotations

import early  # noqa: F401  isort: skip

import argparse
import sys

from common import Parser, add_results, command, read_results
from grammar import add_tables, check_outputs, write_json, write_table

EPILOG = """\
examples:
  rd.py results/demo/images.json.gz results/demo/methods.json.gz
  rd.py results/demo --named results/demo/methods.json.gz -o rate.png
  rd.py results/demo --metric APs --anchor jpeg --csv rate.csv
  rd.py results/demo --cost results/demo/costs.json --points points.csv
"""
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
NO_ANCHOR = "none"


def build_parser() -> Parser:
    """What to compare."""
    parser = Parser(__doc__, EPILOG)
    add_results(parser)
    add = parser.add_argument
    add("--metric", choices=METRICS, default="AP", help="what is lost (AP)")
    add(
        "--anchor",
        metavar="FAMILY",
        help="what the deltas are against; none leaves them out (the image codec that needs "
        "fewest bits at 1 percent lost)",
    )
    add(
        "--named",
        metavar="RESULTS",
        action="append",
        help="results whose settings were named before they were measured; families of levels are "
        "of these alone, beside one of all",
    )
    add("--points", metavar="FILE", help="write the points, a row a family and setting, as CSV")
    add("--cost", metavar="FILE", help="beside each point what it costs, measured by cost.py")
    add_tables(parser, "the rates (as JSON deltas and points, too)")
    add("-o", "--output", metavar="FILE", help="write the figure: .png or .svg")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return command(build_parser, run, argv)


def run(args: argparse.Namespace) -> None:
    """Read, compare, print; write what is asked for."""
    from detectron2_patch.analysis.costs import read_costs
    from detectron2_patch.analysis.delta import need_package
    from detectron2_patch.analysis.rate_distortion import best_image, curves
    from detectron2_patch.analysis.rate_tables import (
        delta_rows,
        format_deltas,
        format_rates,
        point_rows,
        rate_rows,
    )
    from detectron2_patch.errors import InputError

    flag = args.typed.get("output", "-o")
    check_outputs(
        {flag: args.output, "--csv": args.csv, "--json": args.json, "--points": args.points},
        {flag: [".png", ".svg"], "--csv": [".csv"], "--json": [".json"], "--points": [".csv"]},
        [*args.results, *(args.named or ()), *([args.cost] if args.cost else ())],
    )
    if args.cost is not None and args.points is None and args.json is None:
        raise InputError("--cost is told beside each point; give --points FILE or --json FILE, too")
    costs = None if args.cost is None else read_costs(args.cost)
    named = None if args.named is None else read_results(args.named)
    results = [*read_results(args.results), *(named or ())]
    found = curves(results, args.metric, named)
    rates, deltas, anchor = rate_rows(found), [], None
    if args.anchor != NO_ANCHOR:
        need_package()
        anchor = best_image(found) if args.anchor is None else found[args.anchor]
        deltas = delta_rows(found, anchor)
    print(f"clean {args.metric} {found.clean[0]:.1f}\n\n{format_rates(found)}")
    if anchor is not None:
        print(f"\n{format_deltas(deltas, args.metric)}")
    points = point_rows(found, costs)
    write_table(rates, args.csv)
    write_table(points, args.points)
    told = {"metric": args.metric, "clean": float(found.clean[0])}
    content = {**told, "rates": rates, "deltas": deltas, "points": points}
    write_json({"kind": "detectron2_patch rate and distortion", **content}, args.json)
    if args.output is not None:
        draw(results, named, args.output)


def draw(results: list[dict], named: list[dict] | None, path: str) -> None:
    """The figure of all results."""
    from detectron2_patch.errors import InputError
    from detectron2_patch.report.figures import rate_distortion, style
    from detectron2_patch.report.records import make_groups

    with style.style():
        (group,) = make_groups(one for one in results if one["dataset"])
        figure = rate_distortion.draw(group, named)
        if figure is None:
            raise InputError("no family has two points to draw a curve through")
        style.write_to(figure, path)


if __name__ == "__main__":
    sys.exit(main())
