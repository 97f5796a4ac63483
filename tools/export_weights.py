#!/usr/bin/env python3
"""Copy a checkpoint without what only its training needs: a third of the size, same detector."""

from __future__ import annotations

import argparse
import sys

from detectron2_patch.errors import InputError


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="a .pth or zoo .pkl file")
    parser.add_argument("output", help="the .pth to write")
    args = parser.parse_args(argv)

    import torch

    from detectron2_patch.utils.files import atomic_write
    from detectron2_patch.weights import read_checkpoint

    try:
        tensors = read_checkpoint(args.checkpoint)
        model = {
            name: tensor.contiguous()
            for name, tensor in tensors.items()
            if not name.endswith("num_batches_tracked")
        }
        with atomic_write(args.output) as file:
            torch.save({"model": model}, file)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
