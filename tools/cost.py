#!/usr/bin/env python3
"""What each setting of some results costs sender and receiver: operations, time, memory.

A picture costs its sender no backbone, a pyramid its receiver none. Multiply-accumulates are a
pixel of the image as it is stored; what image and video codecs do is in the milliseconds alone.
Medians over a few images, on this machine, which should have nothing else to do.
"""

from __future__ import annotations

import early  # noqa: F401  isort: skip

import argparse
import sys
from pathlib import Path

from common import (
    GOES_ON,
    Parser,
    add_model_flags,
    add_overrides,
    add_results,
    check_fitted,
    command,
    find_weights,
    open_fitted,
    prepare_model,
    read_results,
)
from grammar import check_outputs, whole

from detectron2_patch.errors import InputError

EPILOG = """\
examples:
  cost.py results/demo/images.json.gz -o costs.json
  cost.py results/demo/learned.json.gz -o costs.json --codec results/demo/codecs/*.safetensors
  cost.py mine -o costs.json --fitted fitted.npz --config-file FILE MODEL.WEIGHTS FILE
Then rd.py RESULTS --cost costs.json --points points.csv. Settings that the file holds already
are left as they are: the same command goes on where it was stopped.
"""


def build_parser() -> Parser:
    """What is measured, and with which detector."""
    parser = Parser(__doc__, EPILOG)
    add = parser.add_argument
    add_results(parser)
    add("-o", "--output", required=True, metavar="FILE", help="the costs, as JSON")
    add("--images", type=whole(1), default=2, metavar="N", help="medians over N images (2)")
    add("--fitted", metavar="FILE", help="fitted parts that the settings use")
    add("--codec", metavar="FILE", help="learned codecs that the settings use, one or more")
    add_model_flags(parser)
    add_overrides(parser, shown=False)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return command(build_parser, run, argv, ["--codec"], GOES_ON)


def run(args: argparse.Namespace) -> None:
    """Measure what isn't measured yet, writing after each setting; print the table."""
    flag = args.typed["output"]
    given = [*args.results, args.fitted or "", *(args.codec or "").split()]
    check_outputs({flag: args.output}, {flag: [".json"]}, [one for one in given if one])
    if args.codec == "":
        raise InputError("--codec got nothing; give the files, or leave it out")
    args.num_gpus = None
    from tabulate import tabulate

    from detectron2_patch.analysis.costs import COLUMNS, Costs, cost_cells, read_costs
    from detectron2_patch.analysis.sides import cost_of, machine
    from detectron2_patch.utils.files import sha256
    from detectron2_patch.utils.progress import progress
    from detectron2_patch.utils.sampling import evenly

    output = Path(args.output)
    fitted = open_fitted(args)
    results = read_results(args.results)
    settings = settings_of(results, fitted, args.codec)
    cfg, engine, dataset = prepare_model(args)
    weights = find_weights(args, cfg)
    check_same_detector(results, weights)
    used = [one for setting in settings for one in setting.treatments]
    check_fitted(used, fitted, cfg, weights)
    engine.load_weights(weights)
    check_models(settings, fitted, engine)
    conditions = {
        **machine(),
        "engine": engine.name,
        "weights": sha256(weights),
        "dataset": dataset.name,
        "images": args.images,
    }
    costs = read_costs(output) if output.exists() else Costs(conditions)
    if costs.conditions != conditions:
        other = differing(costs.conditions, conditions)
        raise InputError(f"{output} was measured with {other}; give another file")
    paths = [dataset.image_path(image) for image in evenly(dataset.images, args.images)]
    left = [one for one in settings if costs.get(one) is None]
    for setting in progress(left, total=len(left), unit="setting", desc="measuring"):
        costs.add(setting, cost_of(engine, setting, paths, fitted))
        costs.write(output)
    rows = [[one.label, *cost_cells(costs.get(one))] for one in settings]
    head = [f"{side}: {name}" for side in ("sender", "receiver") for name in COLUMNS]
    print(tabulate(rows, headers=["", *head], tablefmt="github", disable_numparse=True))


def check_models(settings: list, fitted, engine) -> None:
    """Make sure that what the settings use was made for this detector's maps."""
    from detectron2_patch.codec.fitted import check_fitted

    for setting in settings:
        check_fitted(setting, fitted, engine.model)


def settings_of(results: list[dict], fitted, codecs: str | None) -> list:
    """What the results were made with, each once, ready to run.

    Raises:
        InputError: one needs a file that isn't given.
    """
    from detectron2_patch.settings.setting import Setting
    from detectron2_patch.settings.treatments import CLEAN

    given = {one.sha256: one for one in map(read_codec, (codecs or "").split())}
    found = {}
    for result in results:
        setting = Setting.from_json(result["setting"])
        if setting.uses_fit and (fitted is None or fitted.sha256 != setting.fitted):
            raise InputError(
                f"{setting.label} uses fitted parts of SHA-256 {setting.fitted[:12]}…; give that "
                "file: --fitted FILE"
            )
        digests = [getattr(one, "sha256", None) for one in setting.treatments]
        if any(digest not in given for digest in digests if digest is not None):
            raise InputError(f"{setting.label}: give its file: --codec FILE")
        made = tuple(given.get(d, one) for d, one in zip(digests, setting.treatments))
        setting = Setting(made, fitted=setting.fitted, levels=setting.levels)
        if any(one != CLEAN for one in setting.treatments):
            found[setting] = None
    if not found:
        raise InputError("the results hold nothing but the clean pyramid, which nothing sends")
    return list(found)


def read_codec(path: str):
    """A learned codec of a file."""
    from detectron2_patch.codec.learned.codec import LearnedCodec

    return LearnedCodec.parse(path)


def check_same_detector(results: list[dict], weights: Path) -> None:
    """Make sure that the results are of one detector, and of this one.

    Raises:
        InputError: they aren't.
    """
    from detectron2_patch.results.identity import check_one_model
    from detectron2_patch.utils.files import sha256

    known = [one for one in results if one["dataset"]]
    check_one_model(known)
    if any(one["weights"]["sha256"] != sha256(weights) for one in known):
        raise InputError(
            f"the results are of other weights than {weights}; give those: MODEL.WEIGHTS FILE"
        )


def differing(old: dict, new: dict) -> str:
    """The first thing that two conditions differ in."""
    name = next(key for key in {**old, **new} if old.get(key) != new.get(key))
    return f"{name} {old.get(name)}, and now it is {new.get(name)}"


if __name__ == "__main__":
    sys.exit(main())
