import numpy as np
import pytest
import torch
from PIL import Image

from detectron2_patch.codec.learned.clean_maps import CleanMaps, views_of
from detectron2_patch.codec.learned.network import CODED


@pytest.fixture
def pictures(tmp_path):
    """A picture and its mirror image, as files."""
    pixels = np.random.RandomState(0).randint(0, 256, (64, 96, 3), dtype=np.uint8)
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    Image.fromarray(pixels).save(paths[0])
    Image.fromarray(pixels[:, ::-1]).save(paths[1])
    return paths


def test_mirrored_maps_are_those_of_the_mirror_image(engine, pictures, tmp_path):
    views = views_of(pictures, ["a", "b"], held_out=1, mirror=True)
    assert [one.name for one in views] == ["a", "a-mirrored", "b"]
    maps = CleanMaps(tmp_path / "maps", views)
    maps.make(engine, 0)
    for level in CODED:
        assert torch.equal(maps[1][level], maps[2][level])
        assert not torch.equal(maps[0][level], maps[2][level].flip(-1))


def test_the_held_out_are_last_and_never_mirrored():
    views = views_of([None] * 5, list("abcde"), held_out=2, mirror=True)
    assert [one.name for one in views[-2:]] == ["d", "e"]
    assert [one.key for one in views if one.mirrored] == list("abc")
    assert not any(one.mirrored for one in views_of([None] * 5, list("abcde"), 2, False))
    assert len(views_of([None], ["a"], held_out=9, mirror=True)) == 1
