import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detectron2_patch.data.images import (
    load_ahead,
    network_size,
    read_image,
    to_network,
)
from detectron2_patch.errors import InputError

sides = st.integers(1, 2000)


def noise(height, width):
    return np.random.RandomState(0).randint(0, 256, (height, width, 3), dtype=np.uint8)


def test_channels_come_in_the_networks_order(tmp_path):
    pixels = noise(5, 7)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png", "RGB"), pixels)
    assert np.array_equal(read_image(tmp_path / "a.png", "BGR"), pixels[:, :, ::-1])


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGBA"])
def test_every_kind_of_photograph_becomes_colour(tmp_path, mode):
    file = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    Image.fromarray(noise(5, 7)).convert(mode).save(file)
    assert read_image(file).shape == (5, 7, 3)


def test_exif_turns_the_image_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    Image.fromarray(noise(5, 7)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (7, 5, 3)


@pytest.mark.parametrize("content", [b"", b"not an image", "truncated"])
def test_a_damaged_image_is_named(tmp_path, content):
    path = tmp_path / "a.jpg"
    if content == "truncated":
        Image.fromarray(noise(64, 64)).save(path)
        content = path.read_bytes()[:900]
    path.write_bytes(content)
    with pytest.raises(InputError, match="a.jpg"):
        read_image(path)
    with pytest.raises(InputError, match="missing.jpg"):
        read_image(tmp_path / "missing.jpg")


@given(sides, sides)
def test_network_size_equals_detectron2s(height, width):
    transforms = pytest.importorskip(
        "detectron2.data.transforms", reason="compares with real detectron2, not installed here"
    )
    wanted = transforms.ResizeShortestEdge.get_output_shape(height, width, 800, 1333)
    assert network_size((height, width), 800, 1333) == wanted


@pytest.mark.parametrize(
    "size, wanted",
    [((480, 640), (800, 1067)), ((640, 480), (1067, 800)), ((100, 1000), (133, 1333))],
)
def test_network_size(size, wanted):
    assert network_size(size, 800, 1333) == wanted
    assert network_size(size, 0, 1333) == size


def test_an_image_of_the_right_size_is_not_resampled():
    pixels = noise(6, 8)
    same = to_network(pixels[:, :, ::-1], (6, 8))
    assert torch.equal(same, torch.from_numpy(pixels[:, :, ::-1].copy()).permute(2, 0, 1).float())
    assert to_network(pixels, (12, 16)).shape == (3, 12, 16)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_load_ahead_keeps_the_order(workers):
    assert list(load_ahead(lambda x: x * x, range(30), workers)) == [x * x for x in range(30)]


def test_load_ahead_raises_where_the_item_failed():
    loaded = load_ahead(lambda x: 1 / x, [1, 2, 0, 3], workers=2)
    assert [next(loaded), next(loaded)] == [1, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(loaded)


def test_load_ahead_holds_no_more_than_it_was_allowed():
    started, lock = [], threading.Lock()

    def load(item):
        with lock:
            started.append(item)
        return item

    loaded = load_ahead(load, range(100), workers=2, ahead=4)
    next(loaded)
    assert len(started) <= 5
    loaded.close()
