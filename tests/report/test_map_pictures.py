import numpy as np
import torch

from detectron2_patch.report.map_pictures import (
    compare_maps,
    image_part,
    sent_and_restored,
    strength,
    what_was_sent,
)
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.settings.parsing import parse_setting


def maps(part=1.0):
    return {level: torch.ones(1, 3, 32 >> i, 32 >> i) * part for i, level in enumerate(LEVELS)}


def test_strength_is_the_root_mean_square_over_channels():
    feature = torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1).expand(1, 2, 2, 5)
    assert np.allclose(strength(feature), np.full((2, 5), 12.5**0.5))


def test_what_is_sent_and_restored_of_each_level():
    treatments = parse_setting(cr=[4, 1, 1, "max", 1], send=["p2", "p3", "p5"], bits=[2])
    sent, after = sent_and_restored(maps(), treatments)
    assert [None if sent[level] is None else tuple(sent[level].shape) for level in LEVELS] == [
        (1, 3, 8, 8),
        (1, 3, 16, 16),
        None,
        (1, 3, 1, 1),
        None,
    ]
    assert all(after[level].shape == maps()[level].shape for level in LEVELS)
    assert torch.equal(sent["p3"], after["p3"])


def test_a_row_a_level_and_grey_where_nothing_is_sent():
    pixels = np.full((40, 80, 3), 99, dtype=np.uint8)
    sent = {**maps(), "p4": None}
    picture = np.asarray(compare_maps(pixels, maps(), sent, maps(0.0), "title", side=100))
    left, top, across, down = 150, 60, 158, 198
    yellow, violet, grey = (253, 231, 37), (68, 1, 84), (64, 64, 64)

    def colour(row, column):
        return tuple(picture[top + row * down + 20, left + column * across + 30])

    for row in range(5):
        assert colour(row, 0) == yellow and colour(row, 2) == violet and colour(row, 3) == yellow
        assert colour(row, 1) == (grey if row == 2 else yellow)


def test_each_row_has_its_colour_bar_and_says_what_was_sent():
    pixels = np.full((80, 80, 3), 99, dtype=np.uint8)
    treatments = parse_setting(send=["p3"], bits=[2], range=["channel"])
    picture = np.asarray(
        compare_maps(pixels, maps(), maps(), maps(), "title", side=100, treatments=treatments)
    )
    bar = picture[60:160, 150 + 4 * 158 + 5]
    assert tuple(bar[0]) == (253, 231, 37) and tuple(bar[-1]) == (68, 1, 84)
    assert what_was_sent(treatments["p3"]) == ["sent: 2 bits,", "range of a channel"]
    assert what_was_sent(treatments["p2"]) == ["made from P3", "(coarser)"]
    assert what_was_sent(parse_setting(cr=[4, 1, 1, 1, 1])["p2"]) == ["sent as float32"]


def test_padding_is_cut_off():
    assert image_part(torch.zeros(3, 48, 64), (1, 3, 64, 64)) == (0.75, 1.0)
