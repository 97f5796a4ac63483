"""The patch: a detector whose heads read the pyramid that a receiver would have.

Works on any detector with detectron2's parts and calls, ``backbone(images) -> {level: map}``
and ``proposal_generator(images, features, …)``: detectron2's own ``GeneralizedRCNN`` and the
built-in engine's ``FasterRCNN``. Nothing here imports either.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from detectron2_patch.codec.bitstream import unpack
from detectron2_patch.codec.fitted import Fitted, check_fitted, read_fitted
from detectron2_patch.codec.payload import Traffic, bytes_by_part
from detectron2_patch.codec.transmission import (
    WHOLE,
    Channel,
    network_size,
    receive_pyramid,
    send_pyramid,
    whole_codec,
)
from detectron2_patch.errors import InputError
from detectron2_patch.rcnn.levels import level_names
from detectron2_patch.settings.codecs import LevelCodec
from detectron2_patch.settings.setting import PYRAMID, RPN, Setting
from detectron2_patch.settings.treatments import Sent, Treatment
from detectron2_patch.settings.words import SCOPE


@dataclass
class Patch:
    """What a patch did: how often it ran and what was sent.

    ``codes`` says whether the heads read what was decoded from real bytes.
    """

    setting: Setting
    fitted: Fitted | None = None
    names: Mapping[str, str] = field(default_factory=dict)  # of each level, the model's own
    calls: int = 0
    traffic: Traffic = field(default_factory=Traffic)

    def __post_init__(self) -> None:
        self.treatments = self.setting.by_level()
        self.levels = self.setting.levels
        self.names = self.names or {level: level for level in self.levels}
        self.traffic = Traffic.of(self.levels)
        self.whole = whole_codec(self.treatments)
        coded = self.whole is not None or any(
            isinstance(one, LevelCodec) or (isinstance(one, Sent) and one.bits > 0)
            for one in self.setting.treatments
        )
        self.codes = coded and self.setting.scope == PYRAMID
        self._lock = Lock()  # two images may be under way

    def apply(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A new pyramid, as received, of the maps' own type. The one given stays as it is: the
        other head may read it.

        Raises:
            InputError: a level is missing, or the model is being traced.
        """
        if torch.jit.is_tracing():
            raise InputError(
                "a patched model can't be traced: the trace would keep this image's sizes; trace "
                "the model without the patch, or run it as it is"
            )
        missing = [name for name in self.names.values() if name not in features]
        if missing:
            raise InputError(
                f"the model's backbone gives {', '.join(features)} and lacks {', '.join(missing)};"
                f" a detector with FPN levels {self.levels[0]} to {self.levels[-1]} is needed"
            )
        clean = features
        features = {k: _single(clean[name]) for k, name in self.names.items()}  # what codecs take
        if self.codes:
            received, nbytes = self._over_the_wire(features)
        else:
            channel = Channel(features, self.fitted, counted=())
            received = {level: channel.map(level, self.treatments[level]) for level in self.levels}
            nbytes = bytes_by_part(self.treatments, channel.nbytes)
        with self._lock:
            self.calls += 1
            self.traffic.add(features, self.treatments, nbytes)
        changed = {n: received[k].to(clean[n].dtype) for k, n in self.names.items()}
        return {**clean, **changed}

    def _over_the_wire(
        self, features: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, int]]:
        """Real bytes, image by image: what the heads read is what was decoded from them."""
        first = features[self.levels[0]]
        size, device = network_size(features), first.device
        received = []
        nbytes = {WHOLE: 0} if self.whole else dict.fromkeys(self.levels, 0)
        for number in range(len(first)):
            maps = {level: features[level][number] for level in self.levels}
            data = send_pyramid(maps, self.treatments, size, self.fitted, self.levels)
            streams = {WHOLE: data} if self.whole else unpack(data).streams
            for part, stream in streams.items():
                nbytes[part] += len(stream)
            received.append(
                receive_pyramid(data, self.treatments, self.fitted, device, levels=self.levels)
            )
        return {k: torch.stack([one[k] for one in received]) for k in self.levels}, nbytes


def _single(feature: Tensor) -> Tensor:
    """Half precision and bfloat16 as float32, which holds all their values."""
    return feature.float() if feature.dtype in (torch.float16, torch.bfloat16) else feature


@contextmanager
def patch_pyramid(
    model: Any,
    setting: Setting | str | Mapping[str, float | Treatment],
    scope: str | None = None,
    *,
    fitted: Fitted | str | os.PathLike | None = None,
    must_run: bool = True,
) -> Iterator[Patch]:
    """Let ``model`` read the pyramid as received while the block runs::

        with patch_pyramid(model, {"p6": 4}) as patch:
            detections = model(images)
        print(patch.traffic.nbytes)

        with patch_pyramid(model, "--send p3 p5 --bits 4"):
            detections = model(images)

    The patch is a hook on this one instance. It comes off when the block ends, by an exception
    too. Within another patch it changes what that one left.

    Args:
        model: a detector with ``backbone`` and ``proposal_generator``, or what has one as its
            ``model``: what ``load_detector`` gives, detectron2's ``DefaultPredictor``.
        setting: a ``Setting``, its words as on a command line, or level to treatment or linear
            ratio >= 1; ``inf`` reduces a map to 1x1; levels left out stay clean.
        scope: ``pyramid`` (the default): both heads read the changed maps. ``rpn``: only the
            proposal network does, the box head reads clean ones (as the origin did). A ``Setting``
            has its own.
        fitted: what some treatments need, fitted to this model, or the file that holds it.
        must_run: raise when nothing was changed, a mistake unless there was nothing to do.

    A model whose outputs were never trained gives a warning: its AP means nothing.

    Raises:
        InputError: unknown level or scope, a ratio below 1, a treatment that needs ``fitted``, or
            one fitted to another model, an image codec, or a model without P2 to P6.
        RuntimeError: the block ended and the patched part had not run once (``must_run``).
    """
    fitted = open_fitted(fitted)
    loaded = getattr(model, "weights", None)  # an engine knows whether it was given any
    if not hasattr(model, "backbone") and isinstance(getattr(model, "model", None), nn.Module):
        model = model.model
    _check_eager(model)
    names = level_names(model)
    patch = Patch(_of_maps(Setting.given(setting, scope, fitted, tuple(names))), fitted, names)
    check_fitted(patch.setting, fitted, model)
    if loaded is None and is_untrained(model):
        warnings.warn(f"{UNTRAINED}; load a checkpoint first", stacklevel=3)
    rpn = patch.setting.scope == RPN
    if rpn and not isinstance(getattr(model, "proposal_generator", None), nn.Module):
        raise InputError(
            f"scope rpn: {type(model).__name__} has no RPN, and all its heads read the same maps; "
            "give scope pyramid"
        )
    handle = _hook_rpn(model, patch) if rpn else _hook_backbone(model, patch)
    try:
        yield patch
    except Exception as error:
        if "patch_hook" in str(error):  # torch.jit names the hook that it can't read
            raise InputError(
                "a patched model can't be scripted: its hook is Python; script the model without "
                "the patch, or run it as it is"
            ) from error
        raise
    finally:
        handle.remove()
    if must_run and patch.calls == 0:
        raise RuntimeError(
            "the patch: the model never ran, so nothing was degraded (a compiled model runs "
            "without the patch)"
        )


def _check_eager(model: Any) -> None:
    """Refuse what runs as it was compiled or scripted, past any hook that comes later."""
    for part in (model, getattr(model, "backbone", None), getattr(model, "proposal_generator", 0)):
        if isinstance(part, torch.jit.ScriptModule):
            raise InputError(
                f"{type(model).__name__} is scripted, and the patch changes the Python of a model; "
                "give the model that was scripted"
            )
        if getattr(part, "_compiled_call_impl", None) is not None or hasattr(part, "_orig_mod"):
            raise InputError(
                "the model was compiled before the patch, and what is compiled may run without it; "
                "give the model itself, not compiled"
            )


def patch_rpn(
    model: Any,
    setting: Setting | str | Mapping[str, float | Treatment],
    scope: str | None = None,
    *,
    fitted: Fitted | str | os.PathLike | None = None,
    must_run: bool = True,
) -> AbstractContextManager[Patch]:
    """``patch_pyramid`` whose scope is ``rpn`` where nothing else is said, as the origin's was."""
    named = isinstance(setting, str) and SCOPE in setting.split()
    if scope is None and not isinstance(setting, Setting) and not named:
        scope = RPN
    return patch_pyramid(model, setting, scope, fitted=fitted, must_run=must_run)


def open_fitted(given: Fitted | str | os.PathLike | None) -> Fitted | None:
    """Fitted parts as they are, or read from their file.

    Raises:
        InputError: the file can't be read.
    """
    return read_fitted(given) if isinstance(given, str | os.PathLike) else given


UNTRAINED = (
    "the detector's outputs were never trained: its weights are the random ones it starts with"
)
_OUTPUTS = tuple(
    f"{name}.bias" for name in ("objectness_logits", "anchor_deltas", "cls_score", "bbox_pred")
)


def is_untrained(model: nn.Module) -> bool:
    """Whether the biases of all layers that predict are 0, which they start with in detectron2 and
    here, and which no training leaves them."""
    biases = [value for name, value in model.named_parameters() if name.endswith(_OUTPUTS)]
    return bool(biases) and not any(bool(value.detach().any()) for value in biases)


def _of_maps(setting: Setting) -> Setting:
    if setting.image is not None:
        raise InputError(
            f"{setting.image.word} codes the image, and this patch changes the pyramid; code the "
            "image first, or evaluate with tools/train_net.py --image"
        )
    return setting


def _hook_rpn(model: Any, patch: Patch):
    def patch_hook(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if "features" in kwargs:
            return args, {**kwargs, "features": patch.apply(kwargs["features"])}
        images, features, *rest = args
        return (images, patch.apply(features), *rest), kwargs

    return model.proposal_generator.register_forward_pre_hook(patch_hook, with_kwargs=True)


def _hook_backbone(model: Any, patch: Patch):
    def patch_hook(module: nn.Module, args: tuple, output: dict[str, Tensor]):
        return patch.apply(output)

    return model.backbone.register_forward_hook(patch_hook)
