import pytest
import torch

from detectron2_patch.codec.bitstream import HEADER_BYTES
from detectron2_patch.codec.payload import Traffic, bytes_by_part, make_payload, sent_bits
from detectron2_patch.codec.transmission import Channel
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.settings.parsing import parse_setting
from detectron2_patch.settings.setting import Setting

SIZES = {"p2": (16, 16), "p3": (8, 8), "p4": (4, 4), "p5": (2, 2), "p6": (1, 1)}
IMAGES = {"pixels": 4096, "raw_bytes": 3 * 4096, "stored_bytes": 5000}
SETTING = Setting.of(parse_setting(cr=[1, 2, 1, 1, 1], send=["p3", "p5"], bits=["4"]))


@pytest.fixture
def traffic():
    features = {level: torch.rand(2, 3, *size) for level, size in SIZES.items()}
    treatments = SETTING.by_level()
    channel = Channel(features)
    for level in LEVELS:
        channel.map(level, treatments[level])
    nbytes = bytes_by_part(treatments, channel.nbytes)
    counted = Traffic()
    counted.add(features, treatments, nbytes)
    return counted


def test_only_what_is_sent_counts(traffic):
    payload = make_payload(SETTING, traffic, IMAGES, None)
    assert payload["sent"] == {"p2": 0, "p3": 2 * 3 * 16, "p4": 0, "p5": 2 * 3 * 4, "p6": 0}
    assert payload["bits"] == {level: 4 * n for level, n in payload["sent"].items()}
    assert payload["full"]["p2"] == 2 * 3 * 256
    assert payload["bytes"]["p2"] == 0 < payload["bytes"]["p5"] < payload["bytes"]["p3"]
    assert payload["header_bytes"] == 2 * HEADER_BYTES
    total = 2 * HEADER_BYTES + sum(payload["bytes"].values())
    assert payload["total_bytes"] == total and not any(payload["side_bytes"].values())
    assert payload["bits_per_pixel"] == 8 * total / 4096
    p2_to_p5 = 2 * 3 * (256 + 64 + 16 + 4)
    assert payload["smaller"] == {
        "p2-p6 fp32": 4 * (p2_to_p5 + 6) / total,
        "p2-p5 fp32": 4 * p2_to_p5 / total,
        "p2-p6 fp16": 2 * (p2_to_p5 + 6) / total,
        "p2-p5 fp16": 2 * p2_to_p5 / total,
    }
    assert payload["image"] == IMAGES


def test_scope_rpn_saves_nothing_and_tells_no_bytes(traffic):
    payload = make_payload(SETTING.in_scope("rpn"), traffic, IMAGES, None)
    assert payload.keys() == {"wire", "unit", "sent", "full"} and payload["wire"] is False


def test_parts_add_up(traffic):
    twice = Traffic()
    twice.merge(traffic)
    twice.merge(traffic)
    assert twice.images == 4 and twice.nbytes["p3"] == 2 * traffic.nbytes["p3"]
    assert twice.full["p2"] == 2 * traffic.full["p2"] and twice.bits["p5"] == 2 * traffic.bits["p5"]


def test_bits_of_an_element():
    treatments = parse_setting(send=["p3", "p5"], bits=["-", "3", "-", "-", "-"])
    assert [sent_bits(treatments[level]) for level in LEVELS] == [0, 3, 0, 32, 0]
