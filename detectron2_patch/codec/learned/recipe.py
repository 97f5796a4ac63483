"""The settings of a training, from one YAML."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from detectron2_patch.codec.learned.network import STRIDES
from detectron2_patch.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """What decides a codec beside the detector and its images; see ``configs/codec/demo.yaml``.

    Attributes:
        widths: channels of the transforms at strides 4, 8 and 16.
        depth: residual blocks at stride 16, in the encoder and in the decoder.
        groups: channels of the latent's groups, in coding order.
        stride: of the latent: 8, 16 or 32.
        finest: the finest level that the encoder reads: p2 or p3 (p3, too, where there is no P2).
        context_width: channels inside the entropy model's networks.
        lambdas: weights of the distances against bits per pixel of the network's image; one codec
            each, trained from the one before.
        noisy_lambda: the same where bits are of values with noise, which are up to twice as many.
        noisy_iterations, noisy_learning_rate: with noise, before the first rate: of Adam,
            constant after a rise over ``warmup`` iterations.
        iterations, learning_rate: of each rate: a cosine down to zero.
        batch_size: crops of an iteration.
        crop: their side in pixels of the network's image, a multiple of 64; smaller images whole.
        squared_error, objectness, anchors, classes, boxes: weights of the distances.
        heads_from: iteration from which the heads are asked.
        proposals: how many of an image's clean proposals the box head is asked about.
        clip: largest norm of the gradient.
        ema: decay of the averaged weights, which are what a codec has.
        dead_zone: see ``latent_coder.LatentCoder.encode``; of the finished codecs.
        mixed: bfloat16 in the transforms and heads.
        mirror: train on mirror images, too, where images are few.
        held_out: images that are watched and not trained on.
        watch_every: iterations between two looks at them, and between two checkpoints.
    """

    widths: tuple[int, int, int]
    depth: int
    groups: tuple[int, ...]
    stride: int
    finest: str
    context_width: int
    lambdas: tuple[float, ...]
    noisy_lambda: float
    noisy_iterations: int
    noisy_learning_rate: float
    warmup: int
    iterations: int
    learning_rate: float
    batch_size: int
    crop: int
    squared_error: float
    objectness: float
    anchors: float
    classes: float
    boxes: float
    heads_from: int
    proposals: int
    clip: float
    ema: float
    dead_zone: float
    mixed: bool
    mirror: bool
    held_out: int
    watch_every: int

    @property
    def latent(self) -> int:
        """Channels of the latent."""
        return sum(self.groups)

    def to_json(self) -> dict[str, Any]:
        """Under JSON's types."""
        return asdict(self)


FINEST = ("p2", "p3")

# The least value of each number, where 0 or less makes no sense.
_LEAST = {
    "depth": 0,
    "heads_from": 0,
    "warmup": 0,
    "dead_zone": 0,
    "squared_error": 0,
    "objectness": 0,
    "anchors": 0,
    "classes": 0,
    "boxes": 0,
}


def read_recipe(path: str | Path) -> Recipe:
    """Read a YAML of all of ``Recipe``'s fields.

    Raises:
        InputError: it can't be read, a field is missing, unknown, or of a value that makes no
            sense.
    """
    try:
        data = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or "it is no YAML"
        raise InputError(f"--recipe {path}: {reason}; see configs/codec/demo.yaml") from error
    return make_recipe(data, f"--recipe {path}")


def make_recipe(data: Any, source: str) -> Recipe:
    """A recipe of a mapping; ``source`` is named in messages.

    Raises:
        InputError: see ``read_recipe``.
    """
    known = {field.name: str(field.type) for field in fields(Recipe)}
    if not isinstance(data, dict):
        raise InputError(f"{source}: it holds no settings; see configs/codec/demo.yaml")
    wrong = sorted(set(data) ^ set(known), key=str)
    if wrong:
        what = "unknown" if wrong[0] in data else "missing"
        raise InputError(f"{source}: {wrong[0]} is {what}; see configs/codec/demo.yaml")
    values = {name: _value(name, data[name], kind, source) for name, kind in known.items()}
    recipe = Recipe(**values)
    if len(recipe.widths) != 3:
        raise InputError(f"{source}: widths has {len(recipe.widths)} numbers; give 3")
    if recipe.stride not in STRIDES:
        raise InputError(f"{source}: stride is {recipe.stride}; give {_any(STRIDES)}")
    if recipe.crop % 64:
        raise InputError(f"{source}: crop is {recipe.crop}; give a multiple of 64")
    if recipe.ema >= 1:
        raise InputError(f"{source}: ema is {recipe.ema}; give a number below 1")
    return recipe


def _any(choices: Iterable[object]) -> str:
    return " or ".join(map(str, choices))


def _value(name: str, value: Any, kind: str, source: str) -> Any:
    """A value of the YAML as the field has it."""
    if name == "finest":
        if value not in FINEST:
            raise InputError(f"{source}: finest is {value!r}; give {_any(FINEST)}")
        return value
    if kind == "bool":
        if not isinstance(value, bool):
            raise InputError(f"{source}: {name} is {value!r}; give true or false")
        return value
    several = kind.startswith("tuple")
    entries = value if several else [value]
    whole = "int" in kind
    for entry in entries if isinstance(entries, list) and entries else [None]:
        good = isinstance(entry, int if whole else (int, float)) and not isinstance(entry, bool)
        least = _LEAST.get(name)
        if not good or entry is None or not (entry > 0 if least is None else entry >= least):
            what = f"{'a whole number' if whole else 'a number'}"
            above = "above 0" if least is None else f"from {least} on"
            raise InputError(f"{source}: {name} is {value!r}; give {what} {above}")
    make = int if whole else float
    return tuple(map(make, value)) if several else make(value)
