import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectron2_patch.codec import entropy
from detectron2_patch.codec.entropy import compress, decompress
from detectron2_patch.codec.varint import read_varint, varint
from detectron2_patch.errors import InputError

# the coder of a test is the same for all its examples
FIXED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True, params=["waves", "compiled"])
def coder(request):
    """Each test runs on both coders, where numba is there."""
    if request.param == "compiled":
        pytest.importorskip("numba", reason="needs numba, the extra fast")
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entropy, "compiled", lambda: None)
        yield


@st.composite
def index_maps(draw):
    """Indices of every character: noise, constants, smooth and nearly constant maps."""
    bits = draw(st.integers(1, 8))
    shape = tuple(draw(st.integers(1, 9)) for _ in range(3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["noise", "constant", "ramp", "rare"]))
    top = 2**bits - 1
    if kind == "noise":
        values = rng.integers(0, top + 1, shape)
    elif kind == "constant":
        values = np.full(shape, rng.integers(0, top + 1))
    elif kind == "ramp":
        values = np.cumsum(rng.integers(0, 2, shape), axis=2) % (top + 1)
    else:
        values = (rng.random(shape) < 0.05) * top
    return values.astype(np.uint8), bits


@given(index_maps())
@FIXED
def test_lossless_and_the_same_each_time(case):
    indices, bits = case
    coded = compress(indices, bits)
    assert coded == compress(indices.copy(order="F"), bits)
    decoded = decompress(coded, indices.shape, bits)
    assert decoded.dtype == np.uint8 and np.array_equal(decoded, indices)


@given(index_maps(), st.integers(1, 40))
@settings(FIXED, max_examples=40)
def test_maps_of_several_blocks(case, block):
    indices, bits = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entropy, "BLOCK", block)
        assert np.array_equal(decompress(compress(indices, bits), indices.shape, bits), indices)


@given(index_maps(), st.integers(1, 200))
@settings(FIXED, max_examples=60)
def test_both_coders_make_the_same_bytes(case, block):
    compiled = pytest.importorskip("detectron2_patch.codec.entropy_compiled")
    indices, bits = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entropy, "BLOCK", block)
        coded = entropy.compress_by_waves(indices, bits)
        assert compiled.compress(indices, bits) == coded
        assert np.array_equal(compiled.decompress(coded, indices.shape, bits), indices)


@given(st.binary(max_size=60), st.integers(1, 8), st.tuples(*[st.integers(1, 6)] * 3))
@FIXED
def test_any_bytes_are_an_error_or_indices(payload, bits, shape):
    try:
        indices = decompress(payload, shape, bits)
    except ValueError:
        return
    assert indices.shape == shape and indices.max() < 2**bits


@given(index_maps(), st.data())
@FIXED
def test_shortened_or_changed_bytes_are_an_error_or_indices(case, data):
    indices, bits = case
    coded = bytearray(compress(indices, bits))
    at = data.draw(st.integers(0, len(coded) - 1))
    coded[at] ^= data.draw(st.integers(1, 255))
    for payload in (bytes(coded), bytes(coded[:at])):
        try:
            assert decompress(payload, indices.shape, bits).max() < 2**bits
        except ValueError:
            pass


def test_constant_channels_cost_next_to_nothing():
    rng = np.random.default_rng(0)
    busy = rng.integers(0, 8, (4, 32, 32), dtype=np.uint8)
    idle = np.full((60, 32, 32), 3, np.uint8)
    alone, both = len(compress(busy, 3)), len(compress(np.concatenate([busy, idle]), 3))
    assert both - alone < 60  # a byte a channel of 1024 values
    assert len(compress(np.zeros((64, 64, 64), np.uint8), 3)) < 40


def test_smooth_maps_are_far_smaller_than_their_bits():
    y, x = np.mgrid[:64, :64] / 64
    indices = np.stack([np.round(3.5 + 3.5 * np.sin(6 * x + c) * y) for c in range(8)])
    assert len(compress(indices.astype(np.uint8), 3)) < 0.2 * 3 / 8 * indices.size


def test_without_the_coder_one_line_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    monkeypatch.setattr(entropy, "compiled", lambda: None)
    with pytest.raises(InputError, match="pip install constriction"):
        compress(np.zeros((1, 1, 1), np.uint8), 1)


@given(st.integers(0, 2**28 - 1))
@FIXED
def test_numbers_come_back(number):
    assert read_varint(b"x" + varint(number) + b"y", 1) == (number, 1 + len(varint(number)))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x80\x80\x80\x01", b"\x81\x00"])
def test_numbers_without_an_end_or_too_long_are_refused(data):
    with pytest.raises(ValueError):
        read_varint(data, 0)
