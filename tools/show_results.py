#!/usr/bin/env python3
"""Print results as a table: one row a setting, clean first."""

from __future__ import annotations

import argparse
import logging
import sys

from detectron2_patch.errors import InputError


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", help="a result's JSON or a folder of them")
    parser.add_argument(
        "--methods",
        action="store_true",
        help="what each setting sends and loses, its scopes side by side",
    )
    args = parser.parse_args(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s", force=True)

    from detectron2_patch.analysis.tables import format_methods, format_settings
    from detectron2_patch.results.file import load_results

    try:
        table = format_methods if args.methods else format_settings
        print(table(load_results(args.path)))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
