#!/usr/bin/env python3
"""Copy a checkpoint without what only its training needs: a third of the size, same detector; or
one half of it, for a sender (backbone) or a receiver (heads)."""

from __future__ import annotations

import argparse
import sys

from common import told

from detectron2_patch.settings.halves import PARTS, WHOLE


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="a .pth or zoo .pkl file")
    parser.add_argument("output", help="the .pth to write")
    parser.add_argument("--part", choices=PARTS, default=WHOLE, help="of it (whole)")
    args = parser.parse_args(argv)
    return told(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Read, leave out, write."""
    import torch

    from detectron2_patch.utils.files import atomic_write
    from detectron2_patch.weights.parts import cut

    content = cut(args.checkpoint, args.part)
    with atomic_write(args.output) as file:
        torch.save(content, file)


if __name__ == "__main__":
    sys.exit(main())
