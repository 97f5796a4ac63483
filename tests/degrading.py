"""A level as its receiver has it, for tests of what sends it."""

from detectron2_patch.codec.resample import shrink, stretch


def degrade(feature, ratio):
    """Shrink a map ``(N, C, H, W)`` by ``ratio`` and stretch it back."""
    return stretch(shrink(feature, ratio), ratio, feature.shape[-2:])
