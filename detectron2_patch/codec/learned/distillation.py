"""How far what the heads make of decoded maps is from what they make of the clean ones.

No label is used: the clean maps' own logits, scores and boxes are the targets (Hinton et al.
2015). Squared error alone spends bits on what no head looks at. Each distance is a mean that
doesn't depend on the image's size, under the name of its weight in a recipe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

_BETA = 0.1  # where the smooth L1 of deltas turns from square to line
_FLOOR = 0.02  # weight of an anchor that the clean maps say holds nothing
_ROOM = 1.0  # expected objects added to a level's, lest an empty level's few weigh too much


class Heads(Protocol):
    """Teachers: the frozen heads of a detector."""

    def target(self, maps: Mapping[str, Tensor], size: tuple[int, int]) -> Any:
        """What they make of clean maps ``(N, C, H, W)`` of images of ``size``."""

    def losses(self, maps: Mapping[str, Tensor], target: Any) -> dict[str, Tensor]:
        """The distances of decoded maps, by name."""


def rpn_distance(received: Sequence[Tensor], target: Sequence[Tensor]) -> dict[str, Tensor]:
    """Of one level's logits ``(N, A)`` and deltas ``(N, A, 4)``: Kullback-Leibler divergence of the
    objectness, and smooth L1 of the deltas, each anchor weighted by its clean objectness."""
    (logits, deltas), (wanted, wanted_deltas) = received, target
    clean = torch.sigmoid(wanted.float())
    mass = clean.sum() + _ROOM * len(clean)
    return {
        "objectness": (_divergence(logits, wanted) * (clean + _FLOOR)).sum() / mass,
        "anchors": (_error(deltas, wanted_deltas) * clean).sum() / mass,
    }


def dense_distance(received: Sequence[Tensor], target: Sequence[Tensor]) -> dict[str, Tensor]:
    """Of one level of a dense detector, class logits ``(N, A, K)``, deltas ``(N, A, 4)`` and, of
    FCOS, logits of how central a place is ``(N, A)``: as the RPN's, each anchor weighted by its
    likeliest class's clean probability."""
    (logits, deltas, *centre), (wanted, wanted_deltas, *wanted_centre) = received, target
    clean = torch.sigmoid(wanted.float()).amax(-1)
    mass = clean.sum() + _ROOM * len(clean)
    found = {
        "classes": (_divergence(logits, wanted).sum(-1) * (clean + _FLOOR)).sum() / mass,
        "boxes": (_error(deltas, wanted_deltas) * clean).sum() / mass,
    }
    if centre:
        away = _divergence(centre[0], wanted_centre[0])
        found["objectness"] = (away * clean).sum() / mass
    return found


def box_distance(received: Sequence[Tensor], target: Sequence[Tensor]) -> dict[str, Tensor]:
    """Of a box head's class logits and deltas: Kullback-Leibler divergence of the classes, and
    smooth L1 of the deltas, each weighted by the clean probability of its class (of any object,
    where classes share deltas)."""
    (logits, deltas), (wanted, wanted_deltas) = received, target
    clean = F.softmax(wanted, dim=-1)
    classes = F.kl_div(F.log_softmax(logits, dim=-1), clean, reduction="sum")
    error = F.smooth_l1_loss(deltas, wanted_deltas, beta=_BETA, reduction="none")
    error = error.view(len(error), -1, 4).sum(-1)
    weight = clean[:, :-1] if error.shape[1] > 1 else 1 - clean[:, -1:]
    return {
        "classes": classes / max(len(logits), 1),
        "boxes": (error * weight).sum() / (weight.sum() + 1),
    }


def _divergence(logits: Tensor, wanted: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the probabilities of logits, element by element."""
    logits, wanted = logits.float(), wanted.float()
    clean = torch.sigmoid(wanted)
    cross = F.binary_cross_entropy_with_logits(logits, clean, reduction="none")
    return cross - F.binary_cross_entropy_with_logits(wanted, clean, reduction="none")


def _error(deltas: Tensor, wanted: Tensor) -> Tensor:
    """Smooth L1 of deltas ``(…, 4)``, summed over the four."""
    error = F.smooth_l1_loss(deltas.float(), wanted.float(), beta=_BETA, reduction="none")
    return error.sum(-1)
