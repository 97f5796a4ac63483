"""The patch: a detector whose heads read a degraded pyramid.

Works on any detector with detectron2's parts and calls, ``backbone(images) -> {level: map}``
and ``proposal_generator(images, features, …)``: detectron2's own ``GeneralizedRCNN`` and the
built-in engine's ``FasterRCNN``. Nothing here imports either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn

from detectron2_patch.degrade import degrade_pyramid
from detectron2_patch.errors import InputError
from detectron2_patch.payload import Elements
from detectron2_patch.ratios import LEVELS, SCOPES, check_ratios


@dataclass
class Patch:
    """What a patch did: how often it ran and how many elements it saw and kept."""

    ratios: dict[str, float]
    calls: int = 0
    elements: Elements = field(default_factory=Elements)

    def apply(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A new, degraded pyramid. The one given stays as it is: the other head may read it."""
        missing = [level for level in LEVELS if level not in features]
        if missing:
            raise InputError(
                f"the model's backbone gives {', '.join(features)} and lacks {', '.join(missing)};"
                " a detector with FPN levels p2 to p6 is needed"
            )
        self.calls += 1
        self.elements.add(features, self.ratios)
        return degrade_pyramid(features, self.ratios)


@contextmanager
def patch_rpn(
    model: nn.Module, ratios: Mapping[str, float], scope: str = "rpn", *, must_run: bool = True
) -> Iterator[Patch]:
    """Degrade the pyramid that ``model`` reads while the block runs::

        with patch_rpn(model, {"p6": 4}) as patch:
            detections = model(images)

    The patch is a hook on this one instance. It comes off when the block ends, by an exception
    too. Within another patch it degrades what that one left.

    Args:
        model: a detector with ``backbone`` and ``proposal_generator``.
        ratios: level to linear ratio >= 1; ``inf`` reduces a map to 1x1; levels left out are 1.
        scope: ``rpn``: only the proposal network reads the degraded maps, the box head reads
            clean ones (as the origin did). ``pyramid``: both read them.
        must_run: raise when nothing was degraded, a mistake unless there was nothing to do.

    Raises:
        InputError: unknown level or scope, a ratio below 1, or a model without P2 to P6.
        RuntimeError: the block ended and the patched part had not run once (``must_run``).
    """
    if scope not in SCOPES:
        raise InputError(f"scope {scope!r} is unknown; the scopes are {', '.join(SCOPES)}")
    for part in ("backbone", "proposal_generator"):
        if not isinstance(getattr(model, part, None), nn.Module):
            raise InputError(
                f"{type(model).__name__} has no {part}; a detector with an RPN and FPN is needed"
            )
    patch = Patch(check_ratios(ratios))
    handle = _hook_rpn(model, patch) if scope == "rpn" else _hook_backbone(model, patch)
    try:
        yield patch
    finally:
        handle.remove()
    if must_run and patch.calls == 0:
        raise RuntimeError("patch_rpn: the model never ran, so nothing was degraded")


def _hook_rpn(model: nn.Module, patch: Patch):
    def degrade_input(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if "features" in kwargs:
            return args, {**kwargs, "features": patch.apply(kwargs["features"])}
        images, features, *rest = args
        return (images, patch.apply(features), *rest), kwargs

    return model.proposal_generator.register_forward_pre_hook(degrade_input, with_kwargs=True)


def _hook_backbone(model: nn.Module, patch: Patch):
    def degrade_output(module: nn.Module, args: tuple, output: dict[str, Tensor]):
        return patch.apply(output)

    return model.backbone.register_forward_hook(degrade_output)
