"""The training of codecs of one detector: with noise first, then each rate from the one before.

Everything drawn follows from the seed and the iteration's number, so that a training that was
killed and resumed ends where the uninterrupted one ends, bit for bit. Several processes share each
batch and keep the same weights; the first writes the files.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from detectron2_patch.codec.learned.clean_maps import CleanMaps, draw_crop
from detectron2_patch.codec.learned.distillation import Heads
from detectron2_patch.codec.learned.file import CodecFile
from detectron2_patch.codec.learned.model import PyramidModel
from detectron2_patch.codec.learned.recipe import Recipe
from detectron2_patch.errors import InputError
from detectron2_patch.utils import distributed
from detectron2_patch.utils.files import atomic_write
from detectron2_patch.utils.json_values import digest
from detectron2_patch.weights.checkpoint import wrong_checksum

# What may be changed when a training is resumed: how long, for which further rates, how fast it
# learns.
_MAY_DIFFER = (
    "lambdas",
    "iterations",
    "noisy_iterations",
    "learning_rate",
    "noisy_learning_rate",
    "watch_every",
    "dead_zone",
)
_FORM = (
    "widths",
    "depth",
    "groups",
    "stride",
    "finest",
    "context_width",
)  # what two codecs of one form share
_UNITS_FROM = 100  # images that the maps' means and spreads are taken from


class Training:
    """The state of a training and its steps.

    Args:
        recipe: its settings.
        heads: of the frozen detector.
        maps: clean maps of all images; the last ``recipe.held_out`` are not trained on.
        channels: of a level.
        device: where it runs.
        seed: of everything that is drawn.
        start: a codec of the same detector to go on from, at the first rate, without noise.

    Raises:
        InputError: too few images, a batch that several processes can't share, or a codec of
            another form to start from.
    """

    def __init__(
        self,
        recipe: Recipe,
        heads: Heads,
        maps: CleanMaps,
        channels: int,
        device: torch.device,
        seed: int,
        start: CodecFile | None = None,
    ) -> None:
        self.recipe, self.heads, self.maps = recipe, heads, maps
        self.device, self.seed = device, seed
        self.cells = maps.cells(recipe.crop)
        check_batch(recipe, len(maps))
        self.count = len(maps) - recipe.held_out
        torch.manual_seed(seed)
        self.model = PyramidModel(channels, recipe, maps.levels)
        self.start = None if start is None else start.sha256
        if start is None:
            step = max(1, self.count // _UNITS_FROM)
            self.model.set_units([maps[n] for n in range(0, self.count, step)])
        else:
            check_form(recipe, start)
            self.model.load_state_dict(start.model.state_dict())
        self.model.to(device)
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.start_rate(0 if start is None else 1)

    def start_rate(self, rate: int) -> None:
        """Begin a rate, 1 and on, or the part with noise (0), from the averaged weights so far."""
        self.rate, self.iteration = rate, 0
        self.model.load_state_dict(self.average.state_dict())
        self.optimiser = _adam(self.model)

    @property
    def iterations(self) -> int:
        """Of what is being trained."""
        return self.recipe.iterations if self.rate else self.recipe.noisy_iterations

    @property
    def distance_weight(self) -> float:
        """The lambda of what is being trained."""
        return self.recipe.lambdas[self.rate - 1] if self.rate else self.recipe.noisy_lambda

    def step(self) -> dict[str, float]:
        """One iteration; returns the loss and its parts.

        Raises:
            InputError: loss or gradient is no finite number; the weights are as before.
        """
        clean = self._batch()
        # the noise of the rate, another in each process
        torch.manual_seed(self._seed_of(self.iteration) + distributed.rank() * 10_000_019**2)
        parts = self.distances(self.model, clean)
        loss = self._loss(parts)
        self.optimiser.zero_grad()
        loss.backward()
        told = {"loss": loss.detach(), **{n: value.detach() for n, value in parts.items()}}
        distributed.average([*told.values()])
        distributed.average([x.grad for x in self.model.parameters() if x.grad is not None])
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        for what, value in (("loss", told["loss"].item()), ("gradient", norm.item())):
            if not math.isfinite(value):
                raise InputError(
                    f"the {what} is {value} at iteration {self.iteration} of rate {self.rate}; the "
                    "last checkpoint is from before: lower the learning rate, then --resume"
                )
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate()
        self.optimiser.step()
        self._average()
        self.iteration += 1
        return {name: float(value) for name, value in told.items()}

    def distances(self, model: PyramidModel, clean: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Bits per pixel of the network's image, and the distances by their name."""
        size = _image_size(clean)
        with self._mixed():
            wanted = model.normalise(clean)
            latent = model.encoder(wanted)
        noisy = model.training and not self.rate
        received, bits = model.entropy_model(latent.float(), noisy)
        with self._mixed():
            sizes = {level: clean[level].shape[-2:] for level in model.levels}
            decoded = model.decoder(received, sizes)
            errors = [F.mse_loss(decoded[n].float(), wanted[n]) for n in model.levels]
            parts = {
                "bits_per_pixel": bits.mean() / (size[0] * size[1]),
                "squared_error": sum(errors) / len(errors),
            }
            if self.rate or self.iteration >= self.recipe.heads_from:
                target = self.heads.target(clean, size)
                decoded = model.restore_units(decoded)
                parts |= self.heads.losses(decoded, target)
        return parts

    def _loss(self, parts: Mapping[str, Tensor]) -> Tensor:
        weighted = [
            getattr(self.recipe, name) * value
            for name, value in parts.items()
            if name != "bits_per_pixel"
        ]
        return parts["bits_per_pixel"] + self.distance_weight * sum(weighted)

    def _mixed(self):
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.mixed)

    def _seed_of(self, iteration: int) -> int:
        return (self.seed * 1009 + self.rate) * 10_000_019 + iteration

    def _batch(self) -> dict[str, Tensor]:
        """This process's crops of this iteration: each epoch is a permutation of its own."""
        size = self.recipe.batch_size
        crops = []
        for place in distributed.share(range(self.iteration * size, (self.iteration + 1) * size)):
            generator = torch.Generator().manual_seed(self._seed_of(place))
            crops.append(draw_crop(self.maps[self._drawn(place)], self.cells, generator))
        levels = self.maps.levels
        return {n: torch.stack([crop[n] for crop in crops]).to(self.device) for n in levels}

    def _drawn(self, place: int) -> int:
        epoch, place = divmod(place, self.count)
        generator = torch.Generator().manual_seed(self._seed_of(-1 - epoch) % 2**63)
        return int(torch.randperm(self.count, generator=generator)[place])

    def _learning_rate(self) -> float:
        recipe = self.recipe
        if self.rate:
            done = self.iteration / self.iterations
            return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
        return recipe.noisy_learning_rate * min(1.0, (self.iteration + 1) / max(recipe.warmup, 1))

    @torch.no_grad()
    def _average(self) -> None:
        """Move the averaged weights, the faster the younger the training is."""
        decay = min(self.recipe.ema, (self.iteration + 1) / (self.iteration + 10))
        torch._foreach_lerp_(
            list(self.average.parameters()), list(self.model.parameters()), 1 - decay
        )

    @torch.no_grad()
    def watch(self) -> dict[str, float]:
        """The parts of the loss on the held-out images, by the averaged weights."""
        sums: dict[str, float] = {}
        for number in range(self.count, len(self.maps)):
            maps = self.maps[number]
            clean = {n: maps[n][None].float().to(self.device) for n in self.maps.levels}
            for name, value in self.distances(self.average, clean).items():
                sums[name] = sums.get(name, 0.0) + float(value) / self.recipe.held_out
        return sums

    @torch.no_grad()
    def latent(self, number: int) -> tuple[Tensor, tuple[int, int]]:
        """Of an image by the averaged weights, ``(C, h, w)`` on the CPU, and the image's size as
        the network sees it."""
        maps = self.maps[number]
        clean = {n: maps[n][None].float().to(self.device) for n in self.maps.levels}
        latent = self.average.encoder(self.average.normalise(clean))[0].cpu()
        return latent, _image_size(maps)

    def save(self, path: Path) -> None:
        """Write all of the state, whole or not at all."""
        state = {
            "rate": self.rate,
            "iteration": self.iteration,
            "lambdas": list(self.recipe.lambdas[: self.rate]),
            "identity": self.identity(),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        with atomic_write(path) as file:
            torch.save(state, file)

    def load(self, path: Path) -> None:
        """Go on from what ``save`` wrote.

        Raises:
            InputError: it can't be read, or is of another training (see ``_MAY_DIFFER``).
        """
        try:
            if (part := wrong_checksum(path)) is not None:
                raise ValueError(part)
            state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.rate, self.iteration = state["rate"], state["iteration"]
            identity, begun = state["identity"], state["lambdas"]
        except Exception as error:  # torch.load raises what its parts raise
            reason = getattr(error, "strerror", None) or "it is no checkpoint of this training"
            raise InputError(f"--resume: {path}: {reason}; start anew in another folder") from error
        if identity != self.identity():
            raise InputError(
                f"--resume: {path} is of another detector, seed, recipe or images; give those, or "
                "start anew in another folder"
            )
        if list(self.recipe.lambdas[: self.rate]) != begun:
            rates = " ".join(f"{one:g}" for one in begun)
            raise InputError(
                f"--resume: the rates that {path} has begun are --lambda {rates}; give these "
                "first, others after them, or start anew in another folder"
            )

    def identity(self) -> str:
        """Digest of what a resumed training must have in common with its checkpoint."""
        recipe = self.recipe.to_json()
        for name in _MAY_DIFFER:
            del recipe[name]
        start = [] if self.start is None else [self.start]
        return digest([recipe, self.seed, self.maps.names(), *start])


def _image_size(maps: Mapping[str, Tensor]) -> tuple[int, int]:
    """Height and width of the network's image, from the finest map."""
    finest = min(maps)
    height, width = maps[finest].shape[-2:]
    stride = 2 ** int(finest[1:])
    return stride * height, stride * width


def check_batch(recipe: Recipe, images: int) -> None:
    """Make sure that ``images``, mirrored ones among them, make batches that the processes share.

    Raises:
        InputError: they are too few, or the batches too small.
    """
    processes = distributed.world_size()
    if images - recipe.held_out < recipe.batch_size:
        raise InputError(
            f"{images} training images, of which {recipe.held_out} are held out, make no batch of "
            f"{recipe.batch_size}; give more images"
        )
    if recipe.batch_size % processes:
        raise InputError(
            f"batch_size is {recipe.batch_size} and there are {processes} processes, which share "
            f"it; give a multiple of {processes} in --recipe"
        )


def check_form(recipe: Recipe, start: CodecFile) -> None:
    """Make sure that a training by ``recipe`` can go on from a codec.

    Raises:
        InputError: the codec has other sizes.
    """
    given = start.meta["recipe"]
    for name in _FORM:
        if digest(recipe.to_json()[name]) != digest(given[name]):
            raise InputError(
                f"{start.flag} is a codec with {name} {given[name]} and the recipe has "
                f"{getattr(recipe, name)}; give a recipe of its form"
            )


def _adam(model: PyramidModel) -> torch.optim.Adam:
    """Adam in one kernel where this torch has one for the device; on a CPU, 2.4 and later."""
    try:
        return torch.optim.Adam(model.parameters(), 0.0, fused=True)
    except RuntimeError:
        return torch.optim.Adam(model.parameters(), 0.0)
