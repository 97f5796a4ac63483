#!/usr/bin/env python3
"""Show what a damaged pyramid loses on images: a PNG each with both sets of detections."""

from __future__ import annotations

import early  # noqa: F401  isort: skip

import argparse
import logging
import os
import sys
from pathlib import Path

from common import (
    SETTING_FLAGS,
    Parser,
    add_detector_flags,
    add_overrides,
    add_setting_flags,
    build_detector,
    check_fitted,
    command,
    find_levels,
    find_weights,
    is_config_key,
    open_config,
    open_fitted,
    read_setting,
)
from grammar import OPTION, check_output_folder, check_outputs, number

from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import SCOPES
from detectron2_patch.settings.registry import IMAGE_CODECS

EPILOG = """\
examples:
  visualize.py --cr 8 1 1 1 1 --maps                          a scene of the demo, and its maps
  visualize.py --restore origin --maps                        P3 and P5 sent, the rest made of them
  visualize.py --image a.jpg b.jpg --scope rpn -o pictures    your own photographs
  visualize.py --image a.jpg --config-file FILE --classes val.json MODEL.WEIGHTS FILE
"""
OUTPUT = "comparison.png"
DEMO_THRESHOLD, THRESHOLD = 0.9, 0.5
logger = logging.getLogger("visualize")


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(__doc__, EPILOG)
    add = parser.add_argument
    add(
        "--image",
        action="append",
        metavar="FILE",
        help="any photographs, one or more after the flag; left out: a scene of the demo",
    )
    add(
        "-o",
        "--output",
        default=OUTPUT,
        metavar="PNG",
        help=f"the picture ({OUTPUT}), or the folder of several: …_comparison.png of each image",
    )
    add(
        "--maps",
        action="store_true",
        help="the maps, too: before, as sent, and as restored, in …_maps.png beside each picture",
    )
    add("--cr", metavar="RATIO", help="ratios of P2 … P6 (8 1 1 1 1 where nothing else is given)")
    add("--scope", choices=SCOPES, default="pyramid", help="who reads the received maps (pyramid)")
    add_setting_flags(parser)
    add(
        "--threshold",
        type=number(0, 1),
        metavar="SCORE",
        help=f"lowest score to draw ({DEMO_THRESHOLD} "
        f"with the demo's detector, where it finds most at the fewest mistakes, else {THRESHOLD})",
    )
    add("--classes", metavar="JSON", help="a COCO-format JSON that names the classes")
    add_detector_flags(parser)
    add_overrides(parser)
    return parser


def repeat_flag(argv: list[str], flag: str = "--image") -> list[str]:
    """``--image a b`` as ``--image=a --image=b``, so that the overrides stay apart."""
    spread, rest = [], list(argv)
    while rest:
        word = rest.pop(0)
        if is_config_key(word):  # overrides are the last on the line
            return [*spread, word, *rest]
        if word != flag:
            spread.append(word)
            continue
        if not rest or OPTION.match(rest[0]):
            spread.append(f"{flag}=")
        while rest and not OPTION.match(rest[0]) and not is_config_key(rest[0]):
            spread.append(f"{flag}={rest.pop(0)}")
    return spread


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    line = repeat_flag(sys.argv[1:] if argv is None else argv)
    return command(build_parser, run, line, [f for f in SETTING_FLAGS if f != "--image"])


def run(args: argparse.Namespace) -> None:
    """Load the detector and draw each image."""
    args.num_gpus, args.resume = None, False
    images, codecs = split_images(args.image or [])
    pictures = check_pictures(args, images)
    fitted = open_fitted(args)
    args.image = codecs[0] if codecs else None
    flags = [flag[2:].replace("-", "_") for flag in SETTING_FLAGS if flag != "--range"]
    if not any(getattr(args, flag) for flag in flags):
        args.cr = " ".join(["8", *("1" for _ in find_levels(args)[1:])])
    setting = read_setting(args, fitted)
    if args.maps and setting.image is not None:
        raise InputError(
            f"--maps shows maps that are sent, and {setting.image.word} sends the image; leave "
            "one of them out"
        )
    names = None if args.classes is None else read_names(args.classes)

    from functools import partial

    from detectron2_patch.config.levels import class_count
    from detectron2_patch.data.images import read_image
    from detectron2_patch.data.scenes import CLASSES
    from detectron2_patch.report.map_pictures import sent_and_restored

    name, cfg, device = open_config(args)
    if names is not None and len(names) != class_count(cfg):
        raise InputError(
            f"--classes {args.classes} names {len(names)} classes and the detector "
            f"has {class_count(cfg)}; give the JSON of its own classes"
        )
    demo = args.config_file is None
    if names is None and demo:
        names = CLASSES
    if args.threshold is None:
        args.threshold = DEMO_THRESHOLD if demo else THRESHOLD
    images = images or [demo_image()]
    for image in images:
        read_image(image)  # all of them, before seconds of work
    engine = build_detector(args, name, cfg, device)
    weights = find_weights(args, cfg)
    check_fitted(setting.treatments, fitted, cfg, weights)
    engine.load_weights(weights)
    title = f"{'ratios ' if setting.is_plain else ''}{setting.label}, scope {setting.scope}"
    detect = partial(detect_as_received, engine, setting=setting, fitted=fitted)
    for image, output in zip(images, pictures):
        draw(engine, image, output, detect, args.threshold, names, title)
        if args.maps:
            draw_maps(
                engine,
                image,
                maps_of(output),
                partial(sent_and_restored, treatments=setting.by_level(), fitted=fitted),
                title,
            )


def split_images(words: list[str]) -> tuple[list[Path], list[str]]:
    """Photographs, and image codecs among them: ``jpeg:75`` is one, ``./jpeg:75`` is a file.

    Raises:
        InputError: several codecs, or one photograph twice.
    """
    if "" in words:
        raise InputError("--image is empty; give photographs, or one codec such as jpeg:75")
    files = [os.path.realpath(word) for word in words]
    twice = [word for word, file in zip(words, files) if files.count(file) > 1]
    if twice:
        raise InputError(f"--image {twice[-1]} is given twice; give each photograph once")
    codecs = [word for word in words if word.partition(":")[0] in IMAGE_CODECS.names()]
    if len(codecs) > 1:
        raise InputError(f"--image got {' and '.join(codecs)}; give one codec")
    return [Path(word) for word in words if word not in codecs], codecs


def detect_as_received(engine, image: Path, setting, fitted) -> dict:
    """Detections of an image file under a setting."""
    from detectron2_patch.patch import patch_pyramid

    found = engine.read(image)
    if setting.image is not None:
        return engine.detect(engine.recode(found, setting.image)[0])
    with patch_pyramid(engine, setting, fitted=fitted):
        return engine.detect(found)


def draw(engine, image: Path, output: Path, detect, threshold: float, names, title: str) -> None:
    """Detect on the clean pyramid and by ``detect(image)``, and write the picture of both."""
    from detectron2_patch.data.images import read_image
    from detectron2_patch.report.pictures import compare

    found = []
    for detections in (engine.detect(engine.read(image)), detect(image)):
        keep = detections["scores"] >= threshold
        boxes = ("boxes", "scores", "classes")  # masks and keypoints aren't drawn
        found.append({name: detections[name][keep] for name in boxes})
    title = f"{title}, score {threshold:g} or more"
    write(compare(read_image(image, "RGB"), *found, names, title), output)


def draw_maps(engine, image: Path, output: Path, treat, title: str) -> None:
    """Write the picture of the maps; ``treat(pyramid)`` gives those sent and those restored."""
    from detectron2_patch.data.images import read_image
    from detectron2_patch.report.map_pictures import compare_maps, image_part

    network_input = engine.read(image)
    batch = engine.batch([network_input])
    before = engine.pyramid(batch)
    sent, after = treat(before)
    part = image_part(network_input.tensor, batch.tensor.shape)
    pixels = read_image(image, "RGB")
    told = treat.keywords["treatments"]
    write(compare_maps(pixels, before, sent, after, title, part, treatments=told), output)


def write(picture, output: Path) -> None:
    """Write a picture as PNG, whole or not at all."""
    from detectron2_patch.utils.files import atomic_write

    with atomic_write(output) as file:
        picture.save(file, "PNG")
    logger.info("wrote %s", output)


def outputs(images: list[Path], output: str) -> list[Path]:
    """Where each picture goes: the file named, or files named after several images."""
    if len(images) <= 1:
        return [Path(output)]
    folder = Path(output).parent if output == OUTPUT else Path(output)
    names = [image.stem for image in images]
    named = [f"{x}_{i}" if names.count(x) > 1 else x for i, x in enumerate(names, start=1)]
    if len(set(named)) < len(named):  # a.png, a.jpg and a_2.png
        named = [f"{i}_{x}" for i, x in enumerate(names, start=1)]
    return [folder / f"{name}_comparison.png" for name in named]


def maps_of(output: Path) -> Path:
    """Where the maps go beside a picture."""
    return output.with_name(f"{output.stem}_maps.png")


def check_pictures(args: argparse.Namespace, images: list[Path]) -> list[Path]:
    """``outputs``, none of which is an image or can't be written.

    Raises:
        InputError: one is, or can't.
    """
    flag = args.typed.get("output", "-o")
    if len(images) > 1 and args.output.lower().endswith(".png") and args.output != OUTPUT:
        raise InputError(
            f"{flag} {args.output} is one picture and there are {len(images)} images; give a folder"
        )
    if len(images) > 1 and args.output != OUTPUT:
        check_output_folder(flag, args.output)
    found = outputs(images, args.output)
    written = [*found, *(map(maps_of, found) if args.maps else ())]
    for path in written:
        if path.parent.is_dir():  # else it is made
            check_outputs({flag: path}, {flag: [".png"]}, images)
        elif len(images) <= 1:
            check_outputs({flag: path}, {flag: [".png"]})
    return found


def read_names(path: str) -> tuple[str, ...]:
    """The classes that a COCO-format JSON names, in the order of their ids.

    Raises:
        InputError: it can't be read or names none.
    """
    import json

    try:
        categories = json.loads(Path(path).read_bytes())["categories"]
        return tuple(str(one["name"]) for one in sorted(categories, key=lambda one: one["id"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--classes {path} names no classes ({error}); give a COCO-format JSON with categories"
        ) from error


def demo_image() -> Path:
    """The ninth validation scene, which has objects of every size."""
    from detectron2_patch.data.demo import ensure_demo

    return ensure_demo("val")[1] / "000009.bmp"


if __name__ == "__main__":
    sys.exit(main())
