"""The file of a learned codec: one safetensors file, which sender and receiver both have."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from detectron2_patch.codec.learned.integer_model import ROWS, IntegerModel, quantise, restore
from detectron2_patch.codec.learned.latent_coder import SYMBOLS, LatentCoder
from detectron2_patch.codec.learned.model import PyramidModel
from detectron2_patch.codec.learned.recipe import Recipe, make_recipe
from detectron2_patch.codec.provenance import Provenance
from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import check_levels
from detectron2_patch.utils.files import atomic_write

KIND = "detectron2_patch learned codec 2"
_HELP = "tools/train_codec.py makes one"
_TRANSFORMS = ("encoder.", "decoder.", "mean_", "spread_")
_FIELDS = {"weights", "config", "channels", "recipe", "lambda", "dead_zone"}


@dataclass
class CodecFile(Provenance):
    """What a codec's file holds.

    Attributes:
        meta: kind; weights (SHA-256 of the detector's file); config (see ``fitted.map_config``);
            images (the start of each one's SHA-256); channels of a level; recipe; ``lambda``;
            ``dead_zone`` (see ``LatentCoder.encode``); and what else tells of the training.
        model: in float32 and evaluation mode. Its entropy model is what a training goes on from;
            bytes are made by ``coder``, which has it in integers.
        coder: of the latent.
        sha256: of the file.
        size: of the file in bytes.
        flag: that it was given by.
    """

    meta: Mapping[str, Any]
    model: PyramidModel
    coder: LatentCoder
    sha256: str
    size: int
    flag: str = "--codec"
    done, do, help = "was trained on", "train", _HELP


def write_codec(
    path: str | os.PathLike, model: PyramidModel, tables: np.ndarray, meta: Mapping[str, Any]
) -> None:
    """Write a codec to ``path``, whole or not at all; equal parts give equal bytes.

    Args:
        path: of the file.
        model: as trained; its transforms are kept in half precision, its entropy model in
            integers.
        tables: of ``latent_coder.Counts``.
        meta: see ``CodecFile``; the kind is added.

    Raises:
        InputError: it can't be written.
    """
    tensors = {
        name: value.half() if name.startswith(("encoder.", "decoder.")) else value
        for name, value in model.state_dict().items()
        if name.startswith(_TRANSFORMS)
    }
    integers = quantise(model.entropy_model)
    tensors |= {f"entropy_model.{name}": value for name, value in integers.items()}
    # counts of 16 bits; torch knows none without a sign in all its versions
    tensors["tables"] = torch.from_numpy(tables.astype(np.uint16).view(np.int16))
    tensors["images"] = _keys_to_bytes(meta["images"])
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    whole = {name: value for name, value in meta.items() if name != "images"} | {"kind": KIND}
    text = json.dumps({**whole, "content": _content(whole, tensors)}, sort_keys=True)
    with atomic_write(path) as file:
        file.write(save(tensors, metadata={"codec": text}))


def read_codec(path: str | os.PathLike, flag: str = "--codec") -> CodecFile:
    """Read what ``write_codec`` wrote; ``flag`` is what messages name.

    Raises:
        InputError: it can't be read, is something else, or was damaged.
    """
    try:
        data = Path(path).read_bytes()
        tensors = load(data)
        meta = json.loads(_metadata(data)["codec"])
        if meta["kind"] != KIND or not _FIELDS <= meta.keys():
            raise ValueError("it has another form")
        if meta.pop("content") != _content(meta, tensors):
            raise ValueError("a byte is another")
        meta["images"] = [bytes(key).hex() for key in tensors["images"].numpy()]
        recipe = make_recipe(meta["recipe"], f"{flag} {path}")
        model = _read_model(tensors, meta["channels"], recipe)
        integers = _read_integers(tensors, recipe)
        restore(model.entropy_model, integers)
        coder = LatentCoder(IntegerModel(recipe.groups, integers), _read_tables(tensors))
    except InputError:
        raise
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        SafetensorError,
    ) as error:
        reason = getattr(error, "strerror", None) or "it is no file of a learned codec, or damaged"
        raise InputError(f"{flag} {path}: {reason}; {_HELP}") from error
    sha256 = hashlib.sha256(data).hexdigest()
    return CodecFile(meta, model, coder, sha256, len(data), flag)


def _keys_to_bytes(keys: Sequence[str]) -> Tensor:
    """Images' keys, 8 bytes each: thousands of them as text are a part of a file that one sees."""
    rows = [list(bytes.fromhex(key)) for key in keys]
    return torch.tensor(rows, dtype=torch.uint8).reshape(len(rows), 8)


def _content(meta: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of all that a file says, so that a damaged one doesn't decode to other maps."""
    found = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(tensors):
        found.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        found.update(tensors[name].numpy().tobytes())
    return found.hexdigest()


def _metadata(data: bytes) -> dict[str, str]:
    """The texts in the head of a safetensors file, which is JSON behind its length."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length])["__metadata__"]


def _read_model(tensors: Mapping[str, Tensor], channels: int, recipe: Recipe) -> PyramidModel:
    levels = sorted(n.removeprefix("mean_") for n in tensors if n.startswith("mean_"))
    model = PyramidModel(channels, recipe, check_levels(levels))
    state = model.state_dict()
    for name, value in state.items():
        if name.startswith(_TRANSFORMS):
            if tensors[name].shape != value.shape or not tensors[name].isfinite().all():
                raise ValueError(f"{name} has another form")
            state[name] = tensors[name].to(value.dtype)
    model.load_state_dict(state)
    for level in model.levels:
        if not (getattr(model, f"spread_{level}") > 0).all():
            raise ValueError("a spread that isn't above 0")
    return model.eval().requires_grad_(False)


def _read_integers(tensors: Mapping[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
    prefix = "entropy_model."
    integers = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    _check_shapes(integers, recipe)
    return integers


def _read_tables(tensors: Mapping[str, Tensor]) -> np.ndarray:
    tables = tensors["tables"].numpy().view(np.uint16).astype(np.int64)
    if tables.shape != (ROWS, SYMBOLS) or (tables < 1).any() or (tables.sum(1) != 2**16).any():
        raise ValueError("tables of another form")
    return tables


def _check_shapes(integers: Mapping[str, Tensor], recipe: Recipe) -> None:
    """Make sure that a damaged file's networks fail here, not in the middle of an image."""
    before, width = 0, recipe.context_width
    for group, own in enumerate(recipe.groups):
        shapes = {
            "look": (width, before + own + 1, 3, 3),
            "mix": (width, width, 1, 1),
            "give": (2 * own, width, 3, 3),
        }
        for layer, shape in shapes.items():
            weight, bias = (integers[f"{group}.{layer}.{part}"] for part in ("weight", "bias"))
            if weight.shape != shape or bias.shape != shape[:1]:
                raise ValueError("an entropy model of another form")
        before += own
