#!/usr/bin/env python3
"""Copy a checkpoint without what only its training needs: a third of the size, same detector; or
one half of it, for a sender (backbone) or a receiver (heads)."""

from __future__ import annotations

import early  # noqa: F401  isort: skip

import argparse
import sys

from common import Parser, command
from grammar import check_outputs

from detectron2_patch.errors import InputError
from detectron2_patch.settings.halves import PARTS, WHOLE


def build_parser() -> Parser:
    """What to copy, and whither."""
    parser = Parser(__doc__)
    parser.add_argument("checkpoint", help="a .pth or zoo .pkl file")
    parser.add_argument("words", nargs="*", metavar="OUTPUT", help="the .pth to write, as -o")
    parser.add_argument("-o", "--output", metavar="FILE", help="the .pth to write")
    parser.add_argument("--part", choices=PARTS, default=WHOLE, help="of it (whole)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return command(build_parser, run, argv)


def output_of(args: argparse.Namespace) -> str:
    """The file to write, checked: ``-o FILE``, or the second word as ever.

    Raises:
        InputError: none, several, or one that can't be written.
    """
    given = [*args.words, *([] if args.output is None else [args.output])]
    if len(given) != 1:
        raise InputError(
            f"{' and '.join(given) or 'nothing'} to write to; give one file, as -o FILE.pth"
        )
    flag = args.typed.get("output", "OUTPUT")
    check_outputs({flag: given[0]}, {flag: [".pth"]}, [args.checkpoint])
    return given[0]


def run(args: argparse.Namespace) -> None:
    """Read, leave out, write."""
    output = output_of(args)

    import torch

    from detectron2_patch.utils.files import atomic_write
    from detectron2_patch.weights.parts import cut

    content = cut(args.checkpoint, args.part)
    with atomic_write(output) as file:
        torch.save(content, file)


if __name__ == "__main__":
    sys.exit(main())
