#!/usr/bin/env python3
"""Rate and distortion: what each way to send costs in bits per image pixel at equal AP.

For each family (an image codec, coded frames, levels by ratio, bits, rank): bits per pixel at 0.5,
1, 1.4 and 5 percent lost, then Bjontegaard's deltas against the anchor, with 95 % intervals where
the results hold resamples of the images.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys

from common import add_results, read_results, told

EPILOG = """\
examples:
  rd.py results/demo/images.json.gz results/demo/methods.json.gz
  rd.py results/demo --named results/demo/methods.json.gz -o rate.png
  rd.py results/demo --metric APs --anchor jpeg --csv rate.csv
  rd.py results/demo --cost results/demo/costs.json --points points.csv
"""
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
NO_ANCHOR = "none"


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
    add("--csv", metavar="FILE", help="write the rates, a row a family and loss")
    add("--points", metavar="FILE", help="write the points, a row a family and setting, as CSV")
    add("--cost", metavar="FILE", help="beside each point what it costs, measured by cost.py")
    add("--json", metavar="FILE", help="write rates, deltas and points")
    add("-o", "--output", metavar="FILE", help="write the figure: .png or .svg")
    args = parser.parse_intermixed_args(argv)
    return told(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Read, compare, print; write what is asked for."""
    from detectron2_patch.analysis.delta import need_package
    from detectron2_patch.analysis.rate_distortion import best_image, curves
    from detectron2_patch.analysis.rate_tables import (
        delta_rows,
        format_deltas,
        format_rates,
        point_rows,
        rate_rows,
    )
    from detectron2_patch.analysis.sides import read_costs
    from detectron2_patch.errors import InputError

    if args.output is not None and not args.output.endswith((".png", ".svg")):
        raise InputError(f"-o {args.output}: a figure is .png or .svg")
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
    if args.csv is not None:
        write_csv(rates, args.csv)
    if args.points is not None:
        write_csv(points, args.points)
    if args.json is not None:
        told = {"metric": args.metric, "clean": float(found.clean[0])}
        write_json({**told, "rates": rates, "deltas": deltas, "points": points}, args.json)
    if args.output is not None:
        draw(results, named, args.output)


def write_csv(rows: list[dict], path: str) -> None:
    """A table, a row each."""
    from detectron2_patch.utils.files import atomic_write

    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0] if rows else ["family"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def write_json(content: dict, path: str) -> None:
    """Rates, deltas and points."""
    from detectron2_patch.utils.files import atomic_write

    document = {"kind": "detectron2_patch rate and distortion", **content}
    with atomic_write(path) as file:
        file.write((json.dumps(document, indent=1) + "\n").encode())


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
