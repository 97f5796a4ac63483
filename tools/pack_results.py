#!/usr/bin/env python3
"""Pack results into one small .json.gz, which load_results reads like a folder of them."""

from __future__ import annotations

import argparse
import logging
import sys

from common import add_results, read_results, told

from detectron2_patch.errors import InputError


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_results(parser)
    parser.add_argument("output", help="the file to write; its name ends in .json.gz")
    args = parser.parse_intermixed_args(argv)
    return told(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Read all, write one."""
    from detectron2_patch.results.packing import SUFFIX, write_packed

    if not args.output.endswith(SUFFIX):
        raise InputError(f"output {args.output} doesn't end in {SUFFIX}; add that")
    results = read_results(args.results)
    write_packed(results, args.output)
    logging.info("packed %d results into %s", len(results), args.output)


if __name__ == "__main__":
    sys.exit(main())
