import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from detectron2_patch.codec.learned.file import write_codec
from detectron2_patch.codec.learned.integer_model import IntegerModel, quantise
from detectron2_patch.codec.learned.latent_coder import Counts
from detectron2_patch.codec.learned.model import PyramidModel
from detectron2_patch.codec.learned.network import CODED
from detectron2_patch.codec.learned.recipe import Recipe

CHANNELS = 8
RECIPE = Recipe(
    widths=(4, 6, 8),
    depth=1,
    groups=(1, 2, 3),
    stride=16,
    finest="p2",
    context_width=4,
    lambdas=(1.0, 3.0),
    noisy_lambda=1.0,
    noisy_iterations=3,
    noisy_learning_rate=0.01,
    iterations=2,
    learning_rate=0.01,
    warmup=2,
    batch_size=2,
    crop=64,
    squared_error=1.0,
    objectness=1.0,
    anchors=1.0,
    classes=1.0,
    boxes=1.0,
    heads_from=1,
    proposals=8,
    clip=1.0,
    ema=0.9,
    dead_zone=0.0,
    mixed=False,
    mirror=False,
    held_out=1,
    watch_every=2,
)


def make_model(recipe=RECIPE, levels=CODED):
    """A model whose entropy model says something of each value, as a trained one does."""
    torch.manual_seed(0)
    made = PyramidModel(CHANNELS, recipe, levels)
    for context in made.entropy_model.contexts:
        torch.nn.init.normal_(context.give.weight, std=0.3)
        torch.nn.init.normal_(context.give.bias, std=0.3)
    return made.eval().requires_grad_(False)


@pytest.fixture
def model():
    return make_model()


@pytest.fixture
def maps():
    """Maps ``(C, H, W)`` of an image, odd at P4 and P5."""
    return make_maps(CODED)


def make_maps(levels):
    generator = torch.Generator().manual_seed(1)
    sizes = {"p2": (36, 20), "p3": (18, 10), "p4": (9, 5), "p5": (5, 3), "p6": (3, 2), "p7": (2, 1)}
    return {n: torch.randn(CHANNELS, *sizes[n], generator=generator) for n in levels}


@pytest.fixture
def make_codec(tmp_path):
    """The path of a codec's file; what is given changes the recipe."""

    def make(levels=CODED, **changes):
        recipe, maps = replace(RECIPE, **changes), make_maps(levels)
        model, counts = make_model(recipe, levels), Counts()
        integers = IntegerModel(recipe.groups, quantise(model.entropy_model))
        latent = model.encoder(model.normalise({n: one[None] for n, one in maps.items()}))[0]
        counts.add(integers, 4 * latent)
        meta = {
            "weights": "w" * 64,
            "config": "c" * 64,
            "images": ["1f" * 8],
            "channels": CHANNELS,
            "recipe": json.loads(json.dumps(recipe.to_json())),
            "lambda": 1.0,
            "dead_zone": 0.0,
        }
        write_codec(tmp_path / "codec.safetensors", model, counts.tables(), meta)
        return tmp_path / "codec.safetensors"

    return make


@pytest.fixture
def codec_path(make_codec):
    return make_codec()


def made_integers(seed=0, groups=(1, 2, 3), width=4):
    """Whole numbers of networks, the same with every version of everything."""
    random, before, tensors = np.random.RandomState(seed), 0, {}
    for group, own in enumerate(groups):
        shapes = {
            "look": (width, before + own + 1, 3, 3),
            "mix": (width, width, 1, 1),
            "give": (2 * own, width, 3, 3),
        }
        for layer, shape in shapes.items():
            weight = random.randint(-1500, 1500, shape)
            bias = random.randint(-(2**21), 2**21, shape[0])
            tensors[f"{group}.{layer}.weight"] = torch.from_numpy(weight).to(torch.int16)
            tensors[f"{group}.{layer}.bias"] = torch.from_numpy(bias).to(torch.int64)
        before += own
    return tensors
