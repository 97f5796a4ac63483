"""The learned codec as a setting: what levels become, and how bytes are made and read."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from detectron2_patch.codec.fitted import backbone_digest
from detectron2_patch.codec.learned.file import CodecFile, read_codec
from detectron2_patch.codec.learned.network import CODED, latent_size
from detectron2_patch.errors import InputError
from detectron2_patch.settings.codecs import PyramidCodec, Size
from detectron2_patch.settings.levels import wire_levels

_DIGITS = 64  # of a SHA-256


@dataclass(frozen=True)
class LearnedCodec(PyramidCodec):
    """All levels by one latent, trained by ``tools/train_codec.py``.

    Attributes:
        sha256: of the codec's file, which tells it from every other.
        rate: the lambda that it was trained with, for people.
        carried: the levels that it codes, finest first.
        installed_bytes: of the file, which both sides have once, as a program is; None where an
            older result's JSON didn't say.
        path: of the file, where it is at hand.
        file: what it holds; None where the codec was read from a result's JSON.
    """

    name: ClassVar[str] = "learned"

    sha256: str
    rate: float = field(compare=False)
    carried: tuple[str, ...] = CODED
    installed_bytes: int | None = field(default=None, compare=False)
    path: str | None = field(default=None, compare=False)
    file: CodecFile | None = field(default=None, compare=False, repr=False)

    @classmethod
    def parse(cls, arguments: str) -> LearnedCodec:
        return cls.parse_for(arguments, CODED)

    @classmethod
    def parse_for(cls, arguments: str, levels: Sequence[str]) -> LearnedCodec:
        """The codec of a file; or of a SHA-256 alone, which then can't run.

        Raises:
            InputError: the file can't be read or is no codec.
        """
        if not arguments:
            raise InputError("--codec is empty; give a file that tools/train_codec.py made")
        if _is_digest(arguments) and not Path(arguments).exists():
            return cls(arguments, float("nan"), wire_levels(levels))
        file = read_codec(arguments)
        rate, levels = float(file.meta["lambda"]), file.model.levels
        return cls(file.sha256, rate, levels, file.size, arguments, file)

    @property
    def word(self) -> str:
        return f"{self.name}:{self.path or self.sha256}"

    @property
    def label(self) -> str:
        size = f", {self.installed_bytes / 1e6:.2f} MB" if self.installed_bytes else ""
        return f"learned codec, lambda {self.rate:g} ({self.sha256[:8]}{size})"

    def to_json(self) -> dict[str, Any]:
        """Its digest, lambda and size, and its levels where they aren't P2 to P5; the file's path
        and content stay out."""
        own: dict[str, Any] = {}
        if self.carried != CODED:
            own["carried"] = list(self.carried)
        if self.installed_bytes is not None:
            own["installed_bytes"] = self.installed_bytes
        return {
            "codec": self.name,
            "version": self.version,
            "sha256": self.sha256,
            "rate": self.rate,
            **own,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LearnedCodec:
        carried = tuple(data.get("carried", CODED))
        return cls(data["sha256"], data["rate"], carried, data.get("installed_bytes"))

    @property
    def levels(self) -> tuple[str, ...]:
        return self.carried

    def check(self) -> None:
        """Make sure that the file is there.

        Raises:
            InputError: it was read from JSON alone.
        """
        self._opened()

    def details(self) -> dict[str, Any]:
        """Its training."""
        return {"recipe": self._opened().meta["recipe"]}

    def check_detector(self, weights_sha256: str, config: str) -> None:
        """See ``CodecFile.check_detector``."""
        self._opened().check_detector(weights_sha256, config)

    def check_model(self, model: Any) -> None:
        """Make sure that it was trained on the maps of ``model``.

        Raises:
            InputError: it was trained on another detector's.
        """
        self._opened().check_backbone(backbone_digest(model))

    def check_images(self, paths: Sequence) -> None:
        """See ``CodecFile.check_images``."""
        self._opened().check_images(paths)

    @torch.no_grad()
    def encode(self, pyramid: Mapping[str, Tensor], fitted: Any = None) -> bytes:
        """The bytes of one image's clean maps ``(C, H, W)``, of ``levels`` at least.

        Raises:
            InputError: maps of another number of channels, or of sizes that no pyramid has.
        """
        file = self._opened()
        maps = {level: pyramid[level][None].float() for level in self.levels}
        _check_sizes({level: (one.shape[-2], one.shape[-1]) for level, one in maps.items()})
        finest = maps[self.levels[0]]
        if finest.shape[1] != file.meta["channels"]:
            raise InputError(
                f"--codec codes maps of {file.meta['channels']} channels, and these have "
                f"{finest.shape[1]}; train a codec on this detector"
            )
        model = _on(file, finest.device)
        latent = model.encoder(model.normalise(maps))[0].cpu()
        if not latent.isfinite().all():
            raise InputError("the maps hold NaN or infinity, which no codec can send")
        return file.coder.encode(latent, file.meta["dead_zone"])

    @torch.no_grad()
    def decode(
        self, data: bytes, sizes: Mapping[str, Size], fitted: Any = None, device: Any = "cpu"
    ) -> dict[str, Tensor]:
        """The maps of ``levels``, of ``sizes``, from ``encode``'s bytes.

        Raises:
            InputError: damaged bytes, or sizes that no pyramid has.
        """
        file = self._opened()
        sizes = {level: sizes[level] for level in self.levels}
        _check_sizes(sizes)
        try:
            latent = file.coder.decode(data, latent_size(file.model.decoder.stride, sizes))
        except ValueError as error:
            raise InputError(f"the bytes of a learned codec are damaged: {error}") from error
        model = _on(file, torch.device(device))
        latent = latent.to(device, torch.float32)[None]
        maps = model.restore_units(model.decoder(latent, sizes))
        return {level: one[0] for level, one in maps.items()}

    def _opened(self) -> CodecFile:
        if self.file is None:
            raise InputError(
                f"the learned codec {self.sha256[:12]} is known by its digest alone; give its "
                "file: --codec FILE"
            )
        return self.file


def _on(file: CodecFile, device: torch.device):
    """The transforms on ``device``, moved where they aren't there yet."""
    if file.model.mean_p4.device != device:
        file.model.to(device)
    return file.model


def _check_sizes(sizes: Mapping[str, Size]) -> None:
    """Make sure that each level has half the size of the one before, rounded up.

    Raises:
        InputError: one has not.
    """
    for finer, level in zip(sizes, list(sizes)[1:]):
        wanted = tuple((side + 1) // 2 for side in sizes[finer])
        if tuple(sizes[level]) != wanted or 0 in wanted:
            raise InputError(
                f"{level} of {tuple(sizes[level])} with {finer} of {tuple(sizes[finer])}; a "
                "learned codec needs each level half as large as the one before"
            )


def _is_digest(text: str) -> bool:
    return len(text) == _DIGITS and set(text) <= set(string.hexdigits)
