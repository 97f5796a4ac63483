#!/usr/bin/env python3
"""Pack a folder of results into one small .json.gz, which load_results reads like the folder."""

from __future__ import annotations

import argparse
import logging
import sys

from detectron2_patch.errors import InputError


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", help="a folder of results")
    parser.add_argument("output", help="the file to write; its name ends in .json.gz")
    args = parser.parse_args(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s", force=True)

    from detectron2_patch.results.file import load_results
    from detectron2_patch.results.packing import SUFFIX, write_packed

    try:
        if not args.output.endswith(SUFFIX):
            raise InputError(f"output {args.output} doesn't end in {SUFFIX}; add that")
        results = load_results(args.path)
        write_packed(results, args.output)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    logging.info("packed %d results into %s", len(results), args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
