import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detectron2_patch.codec.images.ycbcr import from_rgb, to_rgb

COLOURS = st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=20)


@given(COLOURS)
def test_all_of_444_comes_back_to_rounding(colours):
    pixels = np.array([colours], np.uint8)
    assert np.abs(to_rgb(from_rgb(pixels, "444")).astype(int) - pixels).max() <= 2


@given(COLOURS)
def test_it_is_jpegs_conversion(colours):
    """Pillow's has 6 bits of fraction and rounds down, hence the 1."""
    pixels = np.array([colours], np.uint8)
    theirs = np.asarray(Image.fromarray(pixels).convert("YCbCr")).astype(int)
    assert np.abs(np.stack(from_rgb(pixels, "444"), 2) - theirs).max() <= 1


@pytest.mark.parametrize(
    "rgb, ycbcr",
    [
        ((0, 0, 0), (0, 128, 128)),
        ((255, 255, 255), (255, 128, 128)),
        ((255, 0, 0), (76, 85, 255)),
        ((0, 0, 255), (29, 255, 107)),
    ],
)
def test_known_colours(rgb, ycbcr):
    planes = from_rgb(np.full((2, 2, 3), rgb, np.uint8), "444")
    assert tuple(int(plane[0, 0]) for plane in planes) == ycbcr


def test_halved_chroma_is_the_mean_and_sits_between_its_pixels():
    pixels = np.zeros((2, 8, 3), np.uint8)
    pixels[:, 4:] = (0, 0, 255)
    luma, cb, cr = from_rgb(pixels, "420")
    assert luma.shape == (2, 8) and cb.shape == cr.shape == (1, 4)
    assert cb.tolist() == [[128, 128, 255, 255]]
    blues = [np.full((2, 8), 128, np.uint8), np.array([[100, 100, 140, 140]], np.uint8)]
    steps = np.diff(to_rgb([*blues, np.full((1, 4), 128, np.uint8)])[0, :, 2].astype(int))
    assert steps[[0, 1, 5, 6]].tolist() == [0, 0, 0, 0]
    np.testing.assert_allclose(steps[2:5], 40 * 1.772 * np.array([1, 2, 1]) / 4, atol=1)
