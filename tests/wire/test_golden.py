"""Committed bitstreams of each codec, made once, on another machine: they decode to the same.

Made by ``python tests/wire/test_golden.py`` for codecs that have none yet.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from codecs_sent import IMAGES, MAPS
from made_content import made_maps, made_pixels

from detectron2_patch.codec import entropy
from detectron2_patch.codec.transmission import receive_pyramid, send_pyramid
from detectron2_patch.errors import InputError
from detectron2_patch.settings.registry import IMAGE_CODECS
from detectron2_patch.settings.setting import Setting

FOLDER = Path(__file__).resolve().parent / "golden"
SIZE = (64, 96)
CODED = [words for words in MAPS if "--bits" in words or "--frames" in words]


def path_of(words):
    return FOLDER / f"{'_'.join(words.replace('--', '').replace(':', '_').split())}.bin"


@pytest.mark.parametrize("coder", ["waves", "compiled"])
@pytest.mark.parametrize("words", [words for words in CODED if "--bits" in words])
def test_maps_with_bits_are_the_very_bytes(words, coder, pyramid, monkeypatch):
    """Made of these maps anywhere, by either coder, they are these bytes."""
    if coder == "compiled":
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr(entropy, "compiled", lambda: None)
    treatments = Setting.parse(words).by_level()
    golden = path_of(words).read_bytes()
    assert send_pyramid(pyramid, treatments, SIZE) == golden
    received = receive_pyramid(golden, treatments, size=SIZE)
    for level in ("p3", "p5"):  # in every one of them
        step = float(pyramid[level].max() - pyramid[level].min()) / 2 ** (
            treatments[level].bits - 1
        )
        assert (received[level] - pyramid[level]).abs().max() < step


def test_coded_frames(pyramid):
    pytest.importorskip("av")
    (words,) = (words for words in CODED if "--frames" in words)
    received = receive_pyramid(path_of(words).read_bytes(), Setting.parse(words).by_level())
    for level in ("p2", "p3", "p4", "p5"):
        assert received[level].shape == pyramid[level].shape
    # HEVC's decoder is exact by its standard: the sum says that no value is another
    total = sum(one.double().sum().item() for one in received.values())
    assert total == pytest.approx(float((FOLDER / "frames_sum.txt").read_text()), abs=1e-6)


@pytest.mark.parametrize("name", IMAGE_CODECS.names())
def test_pictures(name, pixels):
    codec = IMAGE_CODECS.get(name).parse(IMAGES[name])
    try:
        codec.check()
    except InputError as error:
        pytest.skip(str(error))
    found = codec.decode(path_of(name).read_bytes())
    assert found.shape == pixels.shape
    assert np.abs(found.astype(int) - pixels.astype(int)).mean() < 4


def make():
    """Write what is missing."""
    maps = made_maps()
    for words in CODED:
        treatments = Setting.parse(words).by_level()
        if not path_of(words).exists():
            path_of(words).write_bytes(send_pyramid(maps, treatments, SIZE))
        if "--frames" in words:
            received = receive_pyramid(path_of(words).read_bytes(), treatments)
            total = sum(one.to(torch.float64).sum().item() for one in received.values())
            (FOLDER / "frames_sum.txt").write_text(f"{total!r}\n")
    for name, arguments in IMAGES.items():
        if not path_of(name).exists():
            codec = IMAGE_CODECS.get(name).parse(arguments)
            path_of(name).write_bytes(codec.encode(made_pixels()))


if __name__ == "__main__":
    make()
