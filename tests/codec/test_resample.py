import math

import pytest
import torch
import torch.nn.functional as F
from degrading import degrade
from hypothesis import given
from hypothesis import strategies as st

from detectron2_patch.codec.resample import reduced_size

sides = st.integers(1, 40)
some_ratios = st.one_of(st.floats(1, 50), st.just(math.inf))


def test_ratio_one_is_free():
    x = torch.rand(1, 2, 5, 7)
    assert degrade(x, 1) is x


@pytest.mark.parametrize("ratio", [2, 1.5, 3, 4.7])
def test_equals_the_origins_arithmetic(ratio):
    x = torch.rand(2, 3, 25, 34)
    h, w = x.shape[-2:]
    small = F.interpolate(x, (int(h // ratio), int(w // ratio)), mode="bilinear")
    assert torch.equal(degrade(x, ratio), F.interpolate(small, (h, w), mode="bilinear"))


@given(sides, sides, some_ratios)
def test_keeps_shape_and_stays_within_the_maps_range(h, w, ratio):
    x = torch.rand(1, 2, h, w)
    y = degrade(x, ratio)
    assert y.shape == x.shape
    assert y.min() >= x.min() - 1e-6 and y.max() <= x.max() + 1e-6


@given(sides, sides, some_ratios)
def test_reduced_size_never_falls_below_one(h, w, ratio):
    small_h, small_w = reduced_size(h, w, ratio)
    assert 1 <= small_h <= h and 1 <= small_w <= w


def test_max_reduces_to_one_value_a_channel():
    y = degrade(torch.rand(1, 3, 13, 17), math.inf)
    torch.testing.assert_close(y, y[..., :1, :1].expand_as(y))
