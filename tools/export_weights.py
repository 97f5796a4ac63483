#!/usr/bin/env python3
"""Copy a checkpoint without what only its training needs: a third of the size, same detector."""

from __future__ import annotations

import argparse
import sys

from common import told


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="a .pth or zoo .pkl file")
    parser.add_argument("output", help="the .pth to write")
    args = parser.parse_args(argv)
    return told(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Read, leave out, write."""
    import torch

    from detectron2_patch.utils.files import atomic_write
    from detectron2_patch.weights import read_checkpoint

    tensors = read_checkpoint(args.checkpoint)
    model = {
        name: tensor.contiguous()
        for name, tensor in tensors.items()
        if not name.endswith("num_batches_tracked")
    }
    with atomic_write(args.output) as file:
        torch.save({"model": model}, file)


if __name__ == "__main__":
    sys.exit(main())
