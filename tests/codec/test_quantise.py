import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rounding import half_step

from detectron2_patch.codec.quantise import (
    check_range,
    dequantise,
    measure_range,
    quantise,
    to_half,
    with_zero,
)

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=7)
MAPS = hnp.arrays(np.float32, SHAPES, elements=FLOATS).map(torch.from_numpy)
BITS = st.integers(1, 8)


def decoded(x, ends, bits):
    return dequantise(quantise(x, ends, bits), ends, bits)


def check_half_step(x, ends, bits):
    lo, hi = (end.double()[:, None, None] for end in ends)
    clipped = torch.maximum(torch.minimum(x.double(), hi), lo)
    gap = (decoded(x, ends, bits).double() - clipped).abs()
    assert (gap <= torch.from_numpy(half_step(ends, bits))[:, None, None]).all()


@given(MAPS, BITS, st.booleans())
def test_within_half_a_step_everywhere(x, bits, per_channel):
    ends = measure_range(x, per_channel)
    check_half_step(x, ends, bits)
    if (half := to_half(ends)) is not None:
        assert (half[0] <= ends[0]).all() and (half[1] >= ends[1]).all()
        check_half_step(x, half, bits)


@given(MAPS, BITS, FLOATS, FLOATS)
def test_values_outside_a_given_range_are_clipped(x, bits, one, other):
    ends = tuple(torch.tensor([end], dtype=torch.float32) for end in sorted((one, other)))
    check_half_step(x, ends, bits)


@given(FLOATS, BITS)
def test_a_constant_is_itself(value, bits):
    x = torch.full((2, 1, 1), value)
    assert torch.equal(decoded(x, measure_range(x, False), bits), x)


def test_ends_are_exact_and_steps_even():
    x = torch.linspace(-1, 2, 16).reshape(1, 4, 4)
    ends = measure_range(x, False)
    torch.testing.assert_close(decoded(x, ends, 4), x)
    assert quantise(x, ends, 4).flatten().tolist() == list(range(16))
    assert decoded(x, ends, 1).unique().tolist() == [-1, 2]


def test_a_channel_has_its_own_steps():
    x = torch.stack([torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 100.0]])])
    assert torch.equal(decoded(x, measure_range(x, True), 1), x)
    assert decoded(x, measure_range(x, False), 1)[0].tolist() == [[0, 0]]


@given(MAPS, BITS, st.booleans())
def test_a_range_with_zero_on_a_step_holds_the_measured_one(x, bits, per_channel):
    ends = measure_range(x, per_channel)
    wide = with_zero(ends, bits)
    assert (wide[0] <= ends[0]).all() and (wide[1] >= ends[1]).all()
    check_half_step(x, wide, bits)
    assert ((wide[1].double() - wide[0]) <= 2 * (ends[1].double() - ends[0])).all()


def test_what_is_weak_has_one_index():
    x = 0.003 * torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0))
    x[0, 0, :2] = torch.tensor([-1.0, 1.0])
    for bits in range(2, 6):
        indices = quantise(x, with_zero(measure_range(x, False), bits), bits)
        assert len(indices[0, 1:].unique()) == 1


def test_float16_only_where_it_is_hardly_wider():
    def range_of(*pairs):
        lo, hi = zip(*pairs)
        return torch.tensor(lo), torch.tensor(hi)

    assert to_half(range_of((-1.3, 2.7), (0.0, 0.0))) is not None
    assert to_half(range_of((100.0, 100.01))) is None
    assert to_half(range_of((-1e6, 1e6))) is None  # beyond float16
    assert to_half(range_of((1e-9, 2e-9))) is None  # below its smallest


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_broken_maps_are_refused(value):
    x = torch.zeros(2, 3, 3)
    x[1, 2, 2] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        measure_range(x, True)


@pytest.mark.parametrize(
    "x", [torch.zeros(3, 3), torch.zeros(0, 3, 3), torch.zeros(1, 3, 3, dtype=torch.int32)]
)
def test_what_is_no_map_is_refused(x):
    with pytest.raises(ValueError, match="a map is"):
        measure_range(x, False)


@pytest.mark.parametrize(
    "ends", [([0.0], [1.0, 1.0]), ([1.0], [0.0]), ([float("nan")], [1.0]), ([0.0], [float("inf")])]
)
def test_ranges_that_make_no_sense_are_refused(ends):
    with pytest.raises(ValueError):
        check_range(tuple(map(torch.tensor, ends)), 3, per_channel=False)
