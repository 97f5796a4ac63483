import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import half_step

from detectron2_patch.codec.bitstream import (
    HEADER_BYTES,
    KINDS,
    coded,
    decode,
    encode,
    pack,
    sent_range,
    unpack,
)
from detectron2_patch.codec.quantise import check_range
from detectron2_patch.errors import InputError

SIDES = st.integers(1, 12)


def a_map(channels=3, h=5, w=7, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(channels, h, w, generator=generator) * scale


def range_for(x, kind):
    """What a fitted kind needs: narrower than the map, so that it clips."""
    if not kind.startswith("fitted"):
        return None
    length = len(x) if kind.endswith("channel") else 1
    return torch.linspace(-0.9, -0.5, length), torch.linspace(0.4, 0.8, length)


@given(
    SIDES,
    SIDES,
    SIDES,
    st.integers(0, 9),
    st.sampled_from([1e-30, 1e-3, 1.0, 1e4, 1e38]),
    st.integers(1, 8),
    st.sampled_from(KINDS),
)
@settings(max_examples=60)
def test_decoded_within_half_a_step_and_as_the_fast_path_says(c, h, w, seed, scale, bits, kind):
    x = a_map(c, h, w, seed, min(scale, 1e37))
    fitted = range_for(x, kind)
    stream = encode(x, bits, kind, fitted)
    assert stream == encode(x.clone(), bits, kind, fitted)
    values, size = coded(x, bits, kind, fitted)
    decoded = decode(stream, fitted)
    assert size == len(stream) and torch.equal(values, decoded) and values.dtype == torch.float32
    per_channel = kind.endswith("channel")
    ends = check_range(fitted, c, per_channel) if fitted else sent_range(x, per_channel, bits)[0]
    lo, hi = (end[:, None, None] for end in ends)
    gap = (decoded.double() - torch.maximum(torch.minimum(x, hi), lo).double()).abs()
    assert (gap <= torch.from_numpy(half_step(ends, bits))[:, None, None]).all()


def test_without_bits_the_values_are_exact():
    x = a_map()
    values, size = coded(x)
    assert torch.equal(decode(encode(x)), x) and torch.equal(values, x)
    assert size == len(encode(x)) == 4 * x.numel() + 10


@pytest.mark.parametrize(
    "maker",
    [
        lambda x: x.double(),
        lambda x: x.half(),
        lambda x: x.transpose(1, 2),
        lambda x: x.requires_grad_(),
    ],
)
def test_any_float_map_that_torch_makes(maker):
    x = maker(a_map())
    for bits in (None, 5):
        values, size = coded(x, bits)
        stream = encode(x, bits)
        assert torch.equal(decode(stream), values) and size == len(stream)


def test_a_constant_map_is_a_few_bytes():
    x = torch.full((64, 100, 100), 0.25)
    assert torch.equal(decode(encode(x, 3)), x) and len(encode(x, 3)) < 45


STREAMS = {
    "raw": encode(a_map()),
    "level": encode(a_map(), 3),
    "channel": encode(a_map(), 2, "channel"),
}


@pytest.mark.parametrize("name", STREAMS)
def test_every_truncation_and_anything_behind_is_refused(name):
    stream = STREAMS[name]
    for cut in [stream[:length] for length in range(len(stream))] + [
        stream[1:],
        stream + b"\0",
        stream + b"x",
        stream + stream,
    ]:
        with pytest.raises(InputError):
            decode(cut)


@pytest.mark.parametrize("name", STREAMS)
def test_every_flipped_bit_is_refused(name):
    for position in range(8 * len(STREAMS[name])):
        changed = bytearray(STREAMS[name])
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(InputError):
            decode(bytes(changed))


@given(st.binary(max_size=80), st.booleans())
def test_random_bytes_are_refused(data, with_magic):
    with pytest.raises(InputError):
        decode((b"\xd2\x01" if with_magic else b"") + data)


def test_random_changes_behind_a_right_checksum_never_crash():
    """What a checksum can't stop: a forged stream decodes to a map or is refused."""
    from detectron2_patch.codec.bitstream import _sealed

    rng = random.Random(0)
    for name in ("level", "channel"):
        for _ in range(300):
            body = bytearray(STREAMS[name][:-4])
            for _ in range(rng.randint(1, 4)):
                body[rng.randrange(2, len(body))] = rng.randrange(256)
            if body[2] & 15 and int.from_bytes(body[3:6], "little") > 0x101010:
                continue  # a large map is allowed, and takes its time
            try:
                assert torch.isfinite(decode(_sealed(bytes(body)))).all()
            except InputError:
                pass


def test_a_forged_size_is_refused_before_memory_is_asked_for():
    from detectron2_patch.codec.bitstream import MAGIC, _sealed

    with pytest.raises(InputError):
        decode(_sealed(MAGIC + b"\x03" + b"\xff\xff\xff\x7f" * 3 + bytes(20)))


@pytest.mark.parametrize("kind", ["fitted-level", "fitted-channel"])
def test_only_the_range_of_the_encoder_decodes(kind):
    x = a_map()
    fitted = range_for(x, kind)
    stream = encode(x, 4, kind, fitted)
    nudged = (fitted[0], torch.nextafter(fitted[1], torch.tensor(9.0)))
    for wrong in (None, nudged, tuple(torch.cat([end, end]) for end in fitted)):
        with pytest.raises(InputError):
            decode(stream, wrong)
    with pytest.raises(InputError, match="none for the others"):
        decode(STREAMS["level"], fitted)


@pytest.mark.parametrize(
    "arguments",
    [(0,), (9,), (3, "row"), (3, "fitted-level"), (3, "level", (torch.zeros(1), torch.ones(1)))],
)
def test_arguments_that_do_not_fit_are_refused(arguments):
    with pytest.raises(ValueError):
        encode(a_map(), *arguments)


def test_broken_maps_are_refused():
    x = a_map()
    x[0, 0, 0] = float("nan")
    for bits in (None, 3):
        with pytest.raises(ValueError, match="NaN or infinite"):
            encode(x, bits)


def test_packed_levels_come_back_and_add_up():
    streams = {"p5": STREAMS["level"], "p2": STREAMS["raw"]}
    data = pack(streams, (480, 640))
    assert len(data) == HEADER_BYTES + sum(map(len, streams.values()))
    assert data == pack(dict(reversed(streams.items())), (480, 640))
    packed = unpack(data)
    assert packed.size == (480, 640) and packed.streams == streams
    assert unpack(pack({}, (1, 1))).streams == {}


def test_packed_levels_damaged_are_refused():
    data = pack({"p3": STREAMS["level"]}, (64, 64))
    for wrong in [data[:length] for length in range(len(data))] + [data + b"\0", b"", b"PK" + data]:
        with pytest.raises(InputError):
            unpack(wrong)
    for position in range(8 * len(data)):
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(InputError):
            decode(unpack(bytes(changed)).streams["p3"])


@pytest.mark.parametrize(
    ("streams", "size"),
    [({"p7": b"x"}, (1, 1)), ({"p2": b""}, (1, 1)), ({}, (0, 5)), ({}, (5, 65536))],
)
def test_what_cannot_be_packed_is_refused(streams, size):
    with pytest.raises(ValueError):
        pack(streams, size)
