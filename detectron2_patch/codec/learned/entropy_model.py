"""How likely each value of the latent is, given what is decoded already.

The latent's channels are coded in groups (Minnen and Singh 2020), each group in two halves of a
checkerboard (He et al. 2021), so that all of a half is coded at once. A small network reads the
groups before, all around, and in the second half the first half's values of its own group; it
gives mean and scale of a logistic distribution for each value. There is no hyperprior: the first
groups, which are small, take its part.

What is here is the differentiable stand-in of a training. A codec file has the same networks in
integers (``integer_model``), which give the same probabilities on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from detectron2_patch.codec.learned.network import activate

LOG_SCALE = (-3.0, 3.0)  # what the logarithm of a scale is kept within


class GroupContext(nn.Module):
    """Mean and log scale of one group's values, from the groups before and its first half."""

    def __init__(self, before: int, own: int, width: int) -> None:
        super().__init__()
        self.own = own
        # one more input tells the halves apart: 1 where the first half is known
        self.look = nn.Conv2d(before + own + 1, width, 3, padding=1)
        self.mix = nn.Conv2d(width, width, 1)
        self.give = nn.Conv2d(width, 2 * own, 3, padding=1)
        nn.init.zeros_(self.give.weight)
        self.give.bias.data.zero_()  # type: ignore[union-attr]

    def forward(self, before: Tensor, anchors: Tensor, known: float) -> tuple[Tensor, Tensor]:
        """``(N, before, h, w)`` and ``(N, own, h, w)``, zeros where unknown."""
        flag = torch.full_like(anchors[:, :1], known)
        x = activate(self.look(torch.cat([before, anchors, flag], dim=1)))
        mean, log_scale = self.give(activate(self.mix(x))).split(self.own, dim=1)
        return mean, log_scale.clamp(*LOG_SCALE)


class EntropyModel(nn.Module):
    """Groups of channels and the network of each.

    Args:
        groups: channels of each group, in coding order; their sum is the latent's.
        width: channels inside a group's network.
    """

    def __init__(self, groups: Sequence[int], width: int) -> None:
        super().__init__()
        self.groups = tuple(groups)
        starts = [0, *accumulate(self.groups)]
        self.contexts = nn.ModuleList(
            GroupContext(before, own, width) for before, own in zip(starts, self.groups)
        )

    def forward(self, latent: Tensor, noisy: bool = False) -> tuple[Tensor, Tensor]:
        """The latent ``(N, C, h, w)`` as the receiver has it, and the bits of each image ``(N,)``.

        Values are rounded to whole steps from their predicted mean, with the gradient of the
        identity. Bits are of the rounded values; or, where ``noisy``, of values with uniform noise
        (Ballé et al. 2017), whose gradient is smooth, but which take up to twice as many bits as
        the values that are sent: train with them first, then without (Guo et al. 2021).
        """
        received, bits = latent[:, :0], latent.new_zeros(len(latent))
        height, width = latent.shape[-2:]
        first = checkerboard((height, width), latent.device)
        for context, values in zip(self.contexts, latent.split(self.groups, dim=1)):
            anchors = torch.zeros_like(values)
            for known, places in ((0.0, first), (1.0, ~first)):
                mean, log_scale = context(received, anchors, known)
                rest = values - mean
                rounded = rest + (torch.round(rest) - rest).detach()
                coded = rest + torch.rand_like(rest) - 0.5 if noisy else rounded
                bits = bits + (logistic_bits(coded, log_scale) * places).sum(dim=(1, 2, 3))
                anchors = anchors + (mean + rounded) * places
            received = torch.cat([received, anchors], dim=1)
        return received, bits


def checkerboard(size: tuple[int, int], device=None) -> Tensor:
    """Which places ``(h, w)`` are of the first half."""
    row = torch.arange(size[0], device=device)[:, None]
    column = torch.arange(size[1], device=device)
    return (row + column) % 2 == 0


def logistic_bits(difference: Tensor, log_scale: Tensor) -> Tensor:
    """Bits of a value that lies ``difference`` from the mean of a logistic distribution."""
    inverse = torch.exp(-log_scale)
    # the difference of two sigmoids of the same sign of argument loses no digits in the tail
    far = difference.abs()
    upper, lower = (0.5 - far) * inverse, (-0.5 - far) * inverse
    return -torch.log2((torch.sigmoid(upper) - torch.sigmoid(lower)).clamp_min(1e-9))
