#!/usr/bin/env python3
"""Show what a damaged pyramid loses on one image: a PNG with both sets of detections."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from common import DEMO_CONFIG, choose_device, find_weights, join_words

from detectron2_patch.errors import InputError
from detectron2_patch.ratios import SCOPES, parse_cr


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--image", help="any photograph; left out: a scene of the demo")
    add("--output", default="comparison.png", metavar="PNG")
    add("--cr", default="8 8 8 8 8", metavar="RATIO", help="ratios of P2 … P6 (8 8 8 8 8)")
    add("--scope", choices=SCOPES, default="pyramid", help="who reads the damaged maps")
    add("--threshold", type=float, default=0.5, help="lowest score to draw (0.5)")
    add("--config-file", metavar="FILE", help="detectron2 YAML; left out: the demo")
    add("--device", help="cpu, cuda …; left out: a GPU where there is one")
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides, last")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    args = build_parser().parse_args(join_words(argv))
    args.num_gpus, args.resume = None, False
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s", force=True)
    try:
        draw(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def draw(args: argparse.Namespace) -> None:
    """Detect twice and write the picture."""
    ratios = parse_cr(args.cr.split())

    from detectron2_patch.config import load_cfg
    from detectron2_patch.config.support import check_supported
    from detectron2_patch.data.images import read_image
    from detectron2_patch.engines.torchvision import TorchvisionEngine
    from detectron2_patch.files import atomic_write
    from detectron2_patch.patch import patch_rpn
    from detectron2_patch.pictures import compare

    cfg = load_cfg(args.config_file or DEMO_CONFIG, args.opts)
    check_supported(cfg, training=False)
    image = Path(args.image) if args.image else demo_image()
    pixels = read_image(image, "RGB")
    engine = TorchvisionEngine(cfg, choose_device(args, cfg))
    engine.load_weights(find_weights(args, cfg))
    found = []
    for damage in ({}, ratios):
        with patch_rpn(engine.model, damage, args.scope):
            detections = engine.detect(engine.read(image))
        keep = detections["scores"] >= args.threshold
        found.append({name: values[keep] for name, values in detections.items()})
    title = f"ratios {args.cr}, scope {args.scope}"
    with atomic_write(args.output) as file:
        compare(pixels, *found, class_names(args, cfg), title).save(file, "PNG")
    logging.info("wrote %s", args.output)


def demo_image() -> Path:
    """The ninth validation scene, which has objects of every size."""
    from detectron2_patch.data.demo import ensure_demo

    return ensure_demo("val")[1] / "000009.bmp"


def class_names(args: argparse.Namespace, cfg) -> tuple[str, ...] | None:
    """The demo's classes; a configuration alone doesn't name its own."""
    from detectron2_patch.data.scenes import CLASSES

    return CLASSES if args.config_file is None else None


if __name__ == "__main__":
    sys.exit(main())
