"""The latent to bytes and back, and that the bytes are the same everywhere."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detectron2_patch.codec.learned.entropy_model import EntropyModel, logistic_bits
from detectron2_patch.codec.learned.integer_model import ROWS, UNIT, IntegerModel, quantise
from detectron2_patch.codec.learned.latent_coder import SYMBOLS, Counts, LatentCoder
from detectron2_patch.errors import InputError

from .conftest import RECIPE, made_integers

HERE = Path(__file__).parent
GROUPS = (1, 2, 3)
GOLDEN = HERE / "golden_latent.bin"
GOLDEN_DIGEST = "19fd3c6880ee1341f22d08b7a4aacd176788b061b06b256ba8fb01f05d92e674"
GOLDEN_DEMO_DIGEST = "9862886832dbf0fea0805feb1ac800a9f309a94f3d337d0698eb895ee392448a"


def made_coder():
    random = np.random.RandomState(1)
    tables = np.ones((ROWS, SYMBOLS), np.int64)
    for row, table in enumerate(tables):
        middle = SYMBOLS // 2 - 1
        table[middle - 2 : middle + 3] += random.randint(1, 200 + 10 * row, 5)
        table[middle] += 2**16 - table.sum()
    return LatentCoder(IntegerModel(GROUPS, made_integers()), tables)


def made_latent(size=(7, 6)):
    random = np.random.RandomState(2)
    return torch.from_numpy(random.randint(-4000, 4000, (6, *size)) / UNIT)


def digest(latent):
    """Of what the receiver has, in whole units."""
    units = (latent * UNIT).numpy()
    assert (units == np.rint(units)).all()
    return hashlib.sha256(units.astype("<i8").tobytes()).hexdigest()


@pytest.mark.parametrize("threads", [1, 2])
def test_golden_stream(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        coder = made_coder()
        assert coder.encode(made_latent()) == GOLDEN.read_bytes()
        assert digest(coder.decode(GOLDEN.read_bytes(), (7, 6))) == GOLDEN_DIGEST
    finally:
        torch.set_num_threads(before)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 6), st.sampled_from([0.3, 5, 90]))
def test_round_trip(seed, height, width, spread):
    latent = spread * torch.randn(6, height, width, generator=torch.Generator().manual_seed(seed))
    coder = made_coder()
    data = coder.encode(latent)
    received = coder.decode(data, (height, width))
    assert (received - latent).abs().max() <= 0.5 + 1e-4  # far steps are escaped, not clipped
    assert coder.encode(received) == data


def test_what_lies_outside_all_steps_is_clipped():
    coder = made_coder()
    latent = torch.full((6, 2, 2), 1e9)
    received = coder.decode(coder.encode(latent), (2, 2))
    assert received.abs().max() <= 1024


def test_a_dead_zone_takes_no_more_bits_and_needs_no_word_to_the_receiver():
    coder, latent = made_coder(), made_latent((16, 16))
    plain, fewer = coder.encode(latent), coder.encode(latent, dead_zone=0.2)
    received = coder.decode(fewer, (16, 16))
    assert len(fewer) < len(plain)
    assert (received - latent).abs().max() <= 0.7 + 1e-4


def test_integers_say_what_the_trained_networks_say(model):
    """The coded size is that of the float model's probabilities, to a few percent."""
    float_model: EntropyModel = model.entropy_model
    latent = torch.randn(6, 24, 24, generator=torch.Generator().manual_seed(3))
    integers = IntegerModel(RECIPE.groups, quantise(float_model))
    coder = LatentCoder(integers, Counts().tables())  # the logistic distributions alone
    received = coder.decode(coder.encode(latent), (24, 24))
    bits, before = 0.0, torch.zeros(1, 0, 24, 24)
    mask = (torch.arange(24)[:, None] + torch.arange(24)) % 2 == 0
    for context, own in zip(float_model.contexts, received.float()[None].split((1, 2, 3), dim=1)):
        for known, half in ((0.0, mask), (1.0, ~mask)):
            mean, log_scale = context(before, own * mask * known, known)
            bits += float((logistic_bits(own - mean, log_scale) * half).sum())
        before = torch.cat([before, own], dim=1)
    assert 8 * len(coder.encode(latent)) == pytest.approx(bits, rel=0.03)


def test_tables_fit_what_was_counted():
    integers, latent = IntegerModel(GROUPS, made_integers()), made_latent((24, 24))
    counts = Counts()
    for _ in range(20):
        counts.add(integers, latent)
    fitted = counts.tables()
    assert (fitted >= 1).all() and (fitted.sum(1) == 2**16).all()
    plain = LatentCoder(integers, Counts().tables()).encode(latent)
    assert len(LatentCoder(integers, fitted).encode(latent)) < len(plain)


@pytest.mark.parametrize("damage", [lambda b: b[:-5], lambda b: b"", lambda b: b + b"\1" * 8])
def test_damaged_bytes_are_told_or_decode_to_something_else(damage):
    coder, latent = made_coder(), made_latent((16, 16))
    whole = coder.encode(latent)
    try:
        received = coder.decode(damage(whole), (16, 16))
    except ValueError:
        return
    assert not torch.equal(received, coder.decode(whole, (16, 16)))


def test_sums_that_floats_cannot_hold_are_refused():
    tensors = made_integers()
    tensors["1.mix.bias"] = tensors["1.mix.bias"] + 2**53
    with pytest.raises(InputError, match="too large to be added exactly"):
        IntegerModel(GROUPS, tensors)


def test_a_weight_of_more_than_16_bits_is_refused(model):
    model.entropy_model.contexts[0].mix.weight[0, 0] = 9.0
    with pytest.raises(InputError, match="too large for 16 bits"):
        quantise(model.entropy_model)


@pytest.mark.parametrize("threads", [1, 2])
def test_golden_stream_of_a_shipped_codec(threads):
    """A scene of the demo, coded by one of the shipped files."""
    from detectron2_patch.codec.learned.file import read_codec

    coder = read_codec("results/demo/codecs/codec_3.safetensors").coder
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        received = coder.decode((HERE / "golden_demo.bin").read_bytes(), (32, 32))
    finally:
        torch.set_num_threads(before)
    assert digest(received) == GOLDEN_DEMO_DIGEST
