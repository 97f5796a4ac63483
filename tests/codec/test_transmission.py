"""A receiver has what a sender's bytes say, and nothing else."""

import pytest
import torch
from degrading import degrade
from hypothesis import given, settings
from hypothesis import strategies as st

from detectron2_patch.codec import bitstream
from detectron2_patch.codec.bitstream import HEADER_BYTES, unpack
from detectron2_patch.codec.fitted import KIND, Fitted
from detectron2_patch.codec.fitting import fit
from detectron2_patch.codec.transmission import (
    Channel,
    level_sizes,
    receive_pyramid,
    send_pyramid,
    side_bytes,
)
from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.settings.parsing import parse_setting
from detectron2_patch.settings.treatments import Sent, all_levels

CHANNELS = 4


def pyramid_of(size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        level: torch.randn(CHANNELS, *one, generator=generator)
        for level, one in level_sizes(*size).items()
    }


@pytest.fixture(scope="module")
def fitted():
    images = [pyramid_of((256, 320), seed) for seed in range(4)]
    arrays = fit({level: x[None] for level, x in one.items()} for one in images)
    return Fitted({"kind": KIND, "weights": "", "images": []}, arrays)


def test_sizes_of_levels_are_those_of_the_backbone():
    """Odd P5 and P6 as at 800 x 1088."""
    assert level_sizes(800, 1088) == {
        "p2": (200, 272),
        "p3": (100, 136),
        "p4": (50, 68),
        "p5": (25, 34),
        "p6": (13, 17),
    }


@st.composite
def words(draw):
    sent = sorted(draw(st.sets(st.sampled_from(LEVELS), min_size=1)))
    bits = draw(st.sampled_from([None, 1, 3, 8]))
    rank = draw(st.sampled_from([None, 1, CHANNELS]))
    cr = [draw(st.sampled_from([1, 2, 3.5, "max"])) if level in sent else 1 for level in LEVELS]
    range_ = draw(st.sampled_from(["level", "channel", "fitted-level", "fitted-channel"]))
    how = draw(st.sampled_from(["nearest", "finer", "coarser", "mix:0.3,0.7", "fit"]))
    return {
        "cr": cr,
        "send": sent,
        "restore": [how],
        "bits": bits and [bits],
        "rank": rank and [rank],
        "range": [range_] if bits else None,
    }


@settings(deadline=None, max_examples=60)
@given(words(), st.sampled_from([(64, 96), (224, 160), (800, 32)]))
def test_the_channel_is_the_sender_and_the_receiver(fitted, given, size):
    """The short cut of a sweep has the very values and bytes that cross the wire."""
    treatments = parse_setting(**given, rank_of=fitted.rank_of)
    one, other = pyramid_of(size, 1), pyramid_of(size, 2)
    batch = {level: torch.stack([one[level], other[level]]) for level in LEVELS}
    channel = Channel(batch, fitted)
    uncounted = Channel(batch, fitted, counted=())
    total = dict.fromkeys(LEVELS, 0)
    for number, clean in enumerate((one, other)):
        data = send_pyramid(clean, treatments, size, fitted)
        streams = unpack(data).streams
        assert len(data) == HEADER_BYTES + sum(map(len, streams.values()))
        received = receive_pyramid(data, treatments, fitted)
        for level in LEVELS:
            total[level] += len(streams.get(level, b""))
            assert received[level].shape == clean[level].shape
            for path in (channel, uncounted):
                mine = path.map(level, treatments[level])[number]
                assert torch.equal(received[level], mine), level
    for level, treatment in treatments.items():
        if isinstance(treatment, Sent):
            assert channel.nbytes[level, treatment] == total[level]


def test_plain_ratios_are_the_origins_degradation():
    clean = {level: x[None] for level, x in pyramid_of((256, 320)).items()}
    channel = Channel(clean)
    for level, ratio in zip(LEVELS, (2.0, 3.0, 1.0, 1.5, float("inf"))):
        received = channel.map(level, Sent(ratio))
        assert torch.equal(received, degrade(clean[level], ratio))
    assert channel.map("p4", Sent()) is clean["p4"], "a clean level is not even copied"


def test_the_whole_basis_changes_next_to_nothing(fitted):
    clean = {level: x[None] for level, x in pyramid_of((256, 320)).items()}
    received = Channel(clean, fitted).map("p2", Sent(rank=CHANNELS))
    torch.testing.assert_close(received, clean["p2"], atol=1e-5, rtol=1e-5)


def test_bytes_of_another_setting_are_refused(fitted):
    clean, size = pyramid_of((64, 96)), (64, 96)
    sent = parse_setting(send=["p3", "p5"], bits=[4])
    data = send_pyramid(clean, sent, size)
    others = [
        parse_setting(send=["p3", "p4"], bits=[4]),
        parse_setting(send=["p3", "p5"], bits=[4], cr=[1, 2, 1, 1, 1]),
        parse_setting(send=["p3", "p5"], bits=[4], range=["fitted-level"]),
        parse_setting(send=["p3", "p5"], bits=[4], rank=[2], rank_of=fitted.rank_of),
        parse_setting(send=["p3", "p5"], bits=[4], rank=[CHANNELS], rank_of=fitted.rank_of),
        parse_setting(send=["p3", "p5"], bits=[5]),
    ]
    for other in others:
        with pytest.raises(InputError, match="another setting|should have been|range"):
            receive_pyramid(data, other, fitted)
    for damaged in (data[:-1], data + b"x", b"", data[:40] + b"\0" + data[41:]):
        with pytest.raises(InputError):
            receive_pyramid(damaged, sent)


def test_side_information_counts_what_a_receiver_needs(fitted):
    assert side_bytes(all_levels({}), None) == {"basis": 0, "ranges": 0, "restorer": 0}
    treatments = parse_setting(
        send=["p3", "p5"],
        restore=["fit"],
        rank=["2"],
        bits=["4"],
        range=["fitted-channel"],
        rank_of=fitted.rank_of,
    )
    assert side_bytes(treatments, fitted) == {
        "basis": 2 * 4 * (2 + 1) * CHANNELS,  # two levels, two directions and the mean
        "ranges": 2 * 4 * 2 * 2,
        "restorer": 2 * 4 * CHANNELS * (2 * CHANNELS * 9 + 1),  # P2 and P4; P6 is a subsample
    }


def test_plain_ratios_are_sent_as_the_patch_takes_them():
    clean, size = pyramid_of((64, 96)), (64, 96)
    data = send_pyramid(clean, {"p2": 2, "p6": float("inf")}, size)
    received = receive_pyramid(data, {"p2": 2.0, "p6": float("inf")})
    assert torch.equal(received["p2"], degrade(clean["p2"][None], 2.0)[0])
    assert torch.equal(received["p3"], clean["p3"])


def test_raw_maps_of_any_size_cross_the_wire_and_coded_ones_have_a_limit(monkeypatch):
    clean, size = pyramid_of((64, 96)), (64, 96)
    monkeypatch.setattr(bitstream, "MAX_ELEMENTS", 100)
    received = receive_pyramid(send_pyramid(clean, {}, size), {})
    assert all(torch.equal(received[level], clean[level]) for level in LEVELS)
    coded = parse_setting(bits=[4])
    batch = {level: x[None] for level, x in clean.items()}
    for attempt in (
        lambda: send_pyramid(clean, coded, size),
        lambda: Channel(batch).map("p2", coded["p2"]),
    ):
        with pytest.raises(InputError, match="at most 100 values"):
            attempt()
