#!/usr/bin/env python3
"""Make figures, a page that explores them, and a table from results."""

from __future__ import annotations

import argparse
import logging
import sys

from detectron2_patch.errors import InputError

EPILOG = """\
examples:
  report.py results/demo                       the shipped grid, to report/index.html
  report.py results keys.json -o mine          with the analysis of key_levels.py
Results of several datasets, models or engines get a report each, in folders of their own.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "results",
        nargs="+",
        metavar="RESULTS",
        help="results and key-level analyses: JSON, .json.gz, or folders of them",
    )
    parser.add_argument(
        "-o", "--output", default="report", metavar="DIR", help="where the report goes (report)"
    )
    args = parser.parse_args(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s", force=True)

    from detectron2_patch.report.make import make_report

    try:
        print(make_report(args.results, args.output))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
