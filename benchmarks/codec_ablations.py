#!/usr/bin/env python3
"""What each choice of a recipe buys: short trainings of a learned codec that differ in one thing.

    python benchmarks/codec_ablations.py -o output/ablations --recipe configs/codec/bccd.yaml \\
        --data JSON IMAGES --config-file FILE --test-data JSON IMAGES MODEL.WEIGHTS FILE

Each is trained by tools/train_codec.py for two rates, and all are evaluated by one sweep, over real
bytes. A table says bits per image pixel and AP of both rates, then how the distances on the
held-out training images stand. What is finished isn't made again; `--only` names some. Trainings
this short say which way a choice goes, not where it ends.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import yaml
from tabulate import tabulate

from detectron2_patch.results.file import load_results
from detectron2_patch.settings.cost import bits_per_pixel
from detectron2_patch.utils.files import sha256

ROOT = Path(__file__).resolve().parent.parent
DISTANCES = ("squared_error", "objectness", "anchors", "classes", "boxes")
OF_HEADS = DISTANCES[1:]
# Name to what it changes in the recipe; functions are given the recipe.
CHANGES = {
    "as it is": {},
    "latent at stride 8": {"stride": 8},
    "latent at stride 32": {"stride": 32},
    "P2 not read": {"finest": "p3"},
    "one group of channels": {"groups": lambda recipe: [sum(recipe["groups"])]},
    "half the widths": {"widths": lambda recipe: [width // 2 for width in recipe["widths"]]},
    "no noise first": {  # as many iterations in all
        "noisy_iterations": 1,
        "iterations": lambda recipe: recipe["iterations"] + recipe["noisy_iterations"] // 2,
    },
    "squared error alone": dict.fromkeys(OF_HEADS, 0.0),
    "no squared error": {"squared_error": 0.0},
    "no RPN's distances": {"objectness": 0.0, "anchors": 0.0},
    "no box head's distances": {"classes": 0.0, "boxes": 0.0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("-o", "--output", type=Path, required=True, metavar="DIR")
    add("--recipe", type=Path, required=True, metavar="YAML", help="what is changed")
    add("--data", nargs=2, required=True, metavar=("JSON", "IMAGES"), help="to train on")
    add(
        "--iterations", type=int, default=1000, metavar="N", help="with noise, and of a rate (1000)"
    )
    add("--lambda", dest="lambdas", type=float, nargs=2, default=[0.1, 0.025], metavar="L")
    add("--only", action="append", choices=CHANGES, metavar="NAME", help="may be given again")
    args, model = parser.parse_known_args()
    names = args.only or list(CHANGES)
    recipe = yaml.safe_load(args.recipe.read_text())
    recipe |= {"iterations": args.iterations, "noisy_iterations": args.iterations}
    recipe |= {"lambdas": args.lambdas, "watch_every": args.iterations}
    for name in names:
        train(args, name, recipe, model)
    trained = [name for name in CHANGES if finished(args, name)]
    print(table(args, trained, evaluate(args, trained, model)))


def folder(args: argparse.Namespace, name: str) -> Path:
    return args.output / name.replace(" ", "_")


def codecs(args: argparse.Namespace, name: str) -> list[Path]:
    return [folder(args, name) / f"codec_{rate}.safetensors" for rate in (1, 2)]


def finished(args: argparse.Namespace, name: str) -> bool:
    return all(path.exists() for path in codecs(args, name))


def train(args: argparse.Namespace, name: str, recipe: dict, model: list[str]) -> None:
    """Train what a change makes of the recipe, unless that is done."""
    if finished(args, name):
        return
    own = {key: value(recipe) if callable(value) else value for key, value in CHANGES[name].items()}
    here = folder(args, name)
    here.mkdir(parents=True, exist_ok=True)
    (args.output / "maps").mkdir(exist_ok=True)
    if not (here / "maps").exists():  # the clean maps are the same for all
        (here / "maps").symlink_to(Path("..") / "maps")
    file = here / "recipe.yaml"
    file.write_text(yaml.safe_dump({**recipe, **own}))
    words = ["-o", here, "--recipe", file, "--data", *args.data]
    resume = ["--resume"] if (here / "checkpoint.pt").exists() else []
    call("train_codec", *words, *resume, *model)


def call(tool: str, *words: object) -> None:
    print(tool, *words, file=sys.stderr)
    command = [sys.executable, ROOT / "tools" / f"{tool}.py", *map(str, words)]
    if status := subprocess.run(command).returncode:
        sys.exit(status)


def evaluate(args: argparse.Namespace, names: list[str], model: list[str]) -> dict[str, dict]:
    """The result of each codec by its SHA-256."""
    files = [path for name in names for path in codecs(args, name)]
    results = args.output / "results"
    call("sweep", "--scope", "pyramid", "--results-dir", results, "--codec", *files, *model)
    found = [one for one in load_results(results) if "pyramid" in one["setting"]]
    return {one["setting"]["pyramid"]["sha256"]: one for one in found}


def table(args: argparse.Namespace, names: list[str], results: dict[str, dict]) -> str:
    """A row a change: both rates, the last one's areas, distances, and the file."""
    rows = []
    for name in names:
        first, last = (results[sha256(path)] for path in codecs(args, name))
        cells = [f"{bits_per_pixel(one):.3f} / {ap(one, 'AP')}" for one in (first, last)]
        areas = " / ".join(ap(last, key) for key in ("APs", "APm", "APl"))
        watched = last_watched(folder(args, name))
        distances = [f"{watched[key]:.3f}" if key in watched else "" for key in DISTANCES]
        size = codecs(args, name)[1].stat().st_size / 1e6
        rows.append([name, *cells, areas, *distances, f"{size:.2f}"])
    high, low = (f"lambda {one:g}: bits per pixel / AP" for one in args.lambdas)
    head = ["", high, low, "APs / APm / APl", *DISTANCES, "MB"]
    return tabulate(rows, headers=head, tablefmt="github", disable_numparse=True)


def ap(result: dict, key: str) -> str:
    value = result["results"]["bbox"][key]  # None: no object has that size
    return "-" if value is None else f"{value:.1f}"


def last_watched(here: Path) -> dict[str, float]:
    """The distances on the held-out images at a training's end."""
    lines = map(json.loads, (here / "metrics.json").read_text().splitlines())
    return [line["held_out"] for line in lines if "held_out" in line][-1]


if __name__ == "__main__":
    main()
