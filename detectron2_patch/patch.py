"""The patch: a detector whose heads read the pyramid that a receiver would have.

Works on any detector with detectron2's parts and calls, ``backbone(images) -> {level: map}``
and ``proposal_generator(images, features, …)``: detectron2's own ``GeneralizedRCNN`` and the
built-in engine's ``FasterRCNN``. Nothing here imports either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from detectron2_patch.codec.bitstream import unpack
from detectron2_patch.codec.fitted import Fitted
from detectron2_patch.codec.payload import Traffic
from detectron2_patch.codec.transmission import Channel, receive_pyramid, send_pyramid
from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import LEVELS, SCOPES
from detectron2_patch.settings.treatments import Sent, Treatment, all_levels


@dataclass
class Patch:
    """What a patch did: how often it ran and what was sent."""

    treatments: dict[str, Treatment]
    scope: str
    fitted: Fitted | None = None
    calls: int = 0
    traffic: Traffic = field(default_factory=Traffic)

    def apply(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A new pyramid, as received. The one given stays as it is: the other head may read it."""
        missing = [level for level in LEVELS if level not in features]
        if missing:
            raise InputError(
                f"the model's backbone gives {', '.join(features)} and lacks {', '.join(missing)};"
                " a detector with FPN levels p2 to p6 is needed"
            )
        self.calls += 1
        coded = any(isinstance(one, Sent) and one.bits for one in self.treatments.values())
        if coded and self.scope == "pyramid":
            received, nbytes = self._over_the_wire(features)
        else:
            channel = Channel(features, self.fitted, counted=())
            received = {level: channel.map(level, self.treatments[level]) for level in LEVELS}
            nbytes = {
                level: channel.nbytes.get((level, self.treatments[level]), 0) for level in LEVELS
            }
        self.traffic.add(features, self.treatments, nbytes)
        return {**features, **received}

    def _over_the_wire(self, features: Mapping[str, Tensor]):
        """Real bytes, image by image: what the heads read is what was decoded from them."""
        p2 = features["p2"]
        size = 4 * p2.shape[-2], 4 * p2.shape[-1]
        received, nbytes = [], dict.fromkeys(LEVELS, 0)
        for number in range(len(p2)):
            maps = {level: features[level][number] for level in LEVELS}
            data = send_pyramid(maps, self.treatments, size, self.fitted)
            for level, stream in unpack(data).streams.items():
                nbytes[level] += len(stream)
            received.append(receive_pyramid(data, self.treatments, self.fitted, p2.device))
        return {level: torch.stack([one[level] for one in received]) for level in LEVELS}, nbytes


@contextmanager
def patch_rpn(
    model: nn.Module,
    treatments: Mapping[str, float | Treatment],
    scope: str = "rpn",
    *,
    fitted: Fitted | None = None,
    must_run: bool = True,
) -> Iterator[Patch]:
    """Let ``model`` read the pyramid as received while the block runs::

        with patch_rpn(model, {"p6": 4}) as patch:
            detections = model(images)

        with patch_rpn(model, parse_setting(restore=["origin"]), "pyramid"):
            detections = model(images)

    The patch is a hook on this one instance. It comes off when the block ends, by an exception
    too. Within another patch it changes what that one left.

    Args:
        model: a detector with ``backbone`` and ``proposal_generator``.
        treatments: level to treatment, or to a linear ratio >= 1; ``inf`` reduces a map to 1x1;
            levels left out stay clean. ``parse_setting`` makes them from words.
        scope: ``rpn``: only the proposal network reads the changed maps, the box head reads
            clean ones (as the origin did). ``pyramid``: both read them.
        fitted: what some treatments need.
        must_run: raise when nothing was changed, a mistake unless there was nothing to do.

    Raises:
        InputError: unknown level or scope, a ratio below 1, a treatment that needs ``fitted``, or
            a model without P2 to P6.
        RuntimeError: the block ended and the patched part had not run once (``must_run``).
    """
    if scope not in SCOPES:
        raise InputError(f"scope {scope!r} is unknown; the scopes are {', '.join(SCOPES)}")
    for part in ("backbone", "proposal_generator"):
        if not isinstance(getattr(model, part, None), nn.Module):
            raise InputError(
                f"{type(model).__name__} has no {part}; a detector with an RPN and FPN is needed"
            )
    patch = Patch(all_levels(treatments), scope, fitted)
    handle = _hook_rpn(model, patch) if scope == "rpn" else _hook_backbone(model, patch)
    try:
        yield patch
    finally:
        handle.remove()
    if must_run and patch.calls == 0:
        raise RuntimeError("patch_rpn: the model never ran, so nothing was degraded")


def _hook_rpn(model: nn.Module, patch: Patch):
    def change_input(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if "features" in kwargs:
            return args, {**kwargs, "features": patch.apply(kwargs["features"])}
        images, features, *rest = args
        return (images, patch.apply(features), *rest), kwargs

    return model.proposal_generator.register_forward_pre_hook(change_input, with_kwargs=True)


def _hook_backbone(model: nn.Module, patch: Patch):
    def change_output(module: nn.Module, args: tuple, output: dict[str, Tensor]):
        return patch.apply(output)

    return model.backbone.register_forward_hook(change_output)
