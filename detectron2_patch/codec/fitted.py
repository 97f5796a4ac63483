"""What was fitted to one detector's maps, which sender and receiver both have: principal
directions, ranges, restorers. Made by ``fitting``, kept in one ``.npz``."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detectron2_patch.codec.provenance import Provenance
from detectron2_patch.config import result_relevant
from detectron2_patch.errors import InputError
from detectron2_patch.settings.codecs import Codec
from detectron2_patch.settings.setting import Setting
from detectron2_patch.utils.files import atomic_write, sha256
from detectron2_patch.utils.json_values import digest

KIND = "detectron2_patch fitted 1"
_HELP = "tools/fit.py makes one"

# How far from the mean the outermost values of the best uniform quantiser of a Laplace
# distribution lie, in standard deviations, at 1 to 8 bits; a test finds no better ones.
_REACH = (0.707, 1.631, 2.558, 3.458, 4.340, 5.220, 6.103, 7.000)


@dataclass
class Fitted(Provenance):
    """Fitted parts of one detector.

    Attributes:
        meta: kind, dataset (name, digest, image_count), images (the start of each one's SHA-256),
            weights (SHA-256 of the detector's file), config (see ``map_config``), backbone (see
            ``backbone_digest``; not in older files), versions.
        arrays: by name, float32: ``mean_p2`` (C,), ``basis_p2`` (C, C) with a direction a row,
            ``variance_p2`` (C,) along them, ``spread_p2`` (C,) the channels' standard deviations,
                ``fit_p2_p3_p5`` (C, 2 C k k + 1) the restorer of P2 from P3 and P5, bias last.
        sha256: of the file.
    """

    meta: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    sha256: str = ""
    _on_device: dict[tuple, Any] = field(default_factory=dict, repr=False)

    flag, done, do, help = "--fitted", "was fitted on", "fit", _HELP

    def rank_of(self, level: str, wanted: float) -> int:
        """How many principal components of a level are ``wanted``: that many, all for infinity, or
        below 1, as many as hold that share of the variance.

        Raises:
            InputError: the level has fewer.
        """
        variance = self.arrays[f"variance_{level}"].astype(np.float64)
        if math.isinf(wanted):
            return len(variance)
        if wanted >= 1:
            if wanted > len(variance):
                raise InputError(
                    f"--rank {wanted:g} of {level}, which has {len(variance)} channels; "
                    "give at most that many components"
                )
            return int(wanted)
        held = np.cumsum(variance) / max(variance.sum(), 1e-300)
        return min(int(np.searchsorted(held, wanted)) + 1, len(variance))

    def channels(self, level: str) -> int:
        """Channels of a level's map."""
        return len(self.arrays[f"mean_{level}"])

    def basis(self, level: str, rank: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """The first ``rank`` directions ``(k, C)`` of a level and its mean ``(C, 1, 1)``."""

        def make():
            basis, mean = self.arrays[f"basis_{level}"], self.arrays[f"mean_{level}"]
            return (_tensor(basis[:rank], device), _tensor(mean[:, None, None], device))

        return self._kept(("basis", level, rank, device), make)

    def range(self, level: str, rank: int, bits: int, by_channel: bool) -> np.ndarray:
        """Lowest and highest value of a quantisation, ``(2, k)`` by channel or ``(2, 1)``.

        As far from the mean as is best for values with a Laplace distribution; what lies beyond
        is clipped. With ``rank``, of the principal components, whose mean is 0.
        """
        if rank:
            spread = np.sqrt(self.arrays[f"variance_{level}"][:rank])
            mean = np.zeros_like(spread)
            if not by_channel:  # the first is the widest
                mean, spread = mean[:1], spread[:1]
        else:
            mean, spread = self.arrays[f"mean_{level}"], self.arrays[f"spread_{level}"]
            if not by_channel:
                power = (spread**2 + mean**2).mean(keepdims=True)
                mean = mean.mean(keepdims=True)
                spread = np.sqrt(power - mean**2)
        reach = np.float32(_REACH[bits - 1]) * spread.reshape(mean.shape)
        return np.stack([mean - reach, mean + reach]).astype(np.float32)

    def restorer(
        self, level: str, sources: Sequence[str], device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Weight ``(C, S C, k, k)`` and bias ``(C,)`` that make a level from others.

        Raises:
            InputError: none was fitted from these.
        """

        def make():
            both = self.arrays.get(restorer_name(level, sources))
            if both is None:
                raise InputError(
                    f"--fitted has no restorer of {level} from {', '.join(sources)}; "
                    "fit one: tools/fit.py without --send, or with these"
                )
            kernel = math.isqrt((both.shape[1] - 1) // (len(both) * len(sources)))
            weight = both[:, :-1].reshape(len(both), -1, kernel, kernel)
            return _tensor(weight, device), _tensor(both[:, -1], device)

        return self._kept(("fit", level, tuple(sources), device), make)

    def _kept(self, key: tuple, make):
        if key not in self._on_device:
            self._on_device[key] = make()
        return self._on_device[key]


def map_config(cfg) -> str:
    """Digest of the part of a configuration that decides a detector's maps of an image."""
    parts = ("INPUT.", "MODEL.PIXEL", "MODEL.BACKBONE.", "MODEL.RESNETS.", "MODEL.FPN.")
    relevant = result_relevant(cfg).items()
    return digest({key: value for key, value in relevant if key.startswith(parts)})


def restorer_name(level: str, sources: Sequence[str]) -> str:
    """The array that makes a level from ``sources``."""
    return "_".join(["fit", level, *sources])


def write_fitted(fitted: Fitted, path: str | os.PathLike) -> None:
    """Write to ``path``, whole or not at all; equal parts give equal bytes.

    Raises:
        InputError: it can't be written.
    """
    meta = np.frombuffer(json.dumps(fitted.meta, sort_keys=True).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, meta=meta, **fitted.arrays)  # type: ignore[arg-type]  # names, not options
    with atomic_write(path) as file:
        file.write(buffer.getvalue())


def read_fitted(path: str | os.PathLike) -> Fitted:
    """Read what ``write_fitted`` wrote.

    Raises:
        InputError: it can't be read or is something else.
    """
    try:
        with np.load(Path(path), allow_pickle=False) as file:
            arrays = dict(file)
        meta = json.loads(arrays.pop("meta").tobytes())
        if meta["kind"] != KIND or not {"images", "weights", "config"} <= meta.keys():
            raise ValueError("it has another form")
        return Fitted(meta, arrays, sha256(path))
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        zipfile.BadZipFile,
    ) as error:
        reason = getattr(error, "strerror", None) or "it is no file of fitted parts"
        raise InputError(f"--fitted {path}: {reason}; {_HELP}") from error


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def need(fitted: Fitted | None) -> Fitted:
    """The fitted parts, where a setting needs them.

    Raises:
        InputError: there are none.
    """
    if fitted is None:
        raise InputError(
            "this setting needs fitted parts; give --fitted FILE (from Python: "
            f"fitted=read_fitted(FILE)); {_HELP}"
        )
    if not isinstance(fitted, Fitted):
        raise InputError(f"fitted is {fitted!r}; give what read_fitted(FILE) returns")
    return fitted


def check_fitted(setting: Setting, fitted: Fitted | None, model: nn.Module) -> None:
    """Make sure, where a setting uses them, that there are fitted parts and that these, and its
    codecs, were made for the maps of ``model``.

    Raises:
        InputError: there are none, or they are of another detector.
    """
    for one in set(setting.treatments):
        if isinstance(one, Codec):
            one.check_model(model)
    if not setting.uses_fit:
        return
    parts = need(fitted)
    parts.check_backbone(backbone_digest(model))
    if setting.fitted and parts.sha256 and setting.fitted != parts.sha256:
        raise InputError(
            f"the setting is of the fitted file {setting.fitted[:12]}, and {parts.sha256[:12]} is "
            "given; give the one that it names"
        )


def backbone_digest(model: nn.Module) -> str:
    """What tells a detector's maps apart: SHA-256 of its backbone's parameters and buffers, and of
    the pixels' mean and deviation."""
    found = hashlib.sha256()
    state = model.backbone.state_dict(prefix="backbone.")  # type: ignore[union-attr]
    for name in ("pixel_mean", "pixel_std"):
        state[name] = getattr(model, name, None)
    for name in sorted(state):
        value = state[name]
        if isinstance(value, Tensor) and not name.endswith("num_batches_tracked"):
            found.update(name.encode())
            array = value.detach().float().cpu().contiguous().numpy()
            found.update(array.reshape(-1).astype("<f4", copy=False).tobytes())
    return found.hexdigest()
