import numpy as np
import pytest
import torch
from PIL import Image

from detectron2_patch.codec.learned.clean_maps import CleanMaps, views_of
from detectron2_patch.codec.learned.network import CODED
from detectron2_patch.engines.choice import build_engine
from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import LEVELS


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


def test_maps_of_another_configuration_are_not_taken_for_its_own(engine, pictures, tmp_path):
    maps = CleanMaps(tmp_path / "maps", views_of(pictures, ["a", "b"], 1, mirror=False))
    maps.make(engine, 0)
    before = maps[0]["p2"].shape
    other = engine.cfg.clone()
    other.defrost()
    other.INPUT.MIN_SIZE_TEST += 32
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(engine, "cfg", other)
        with pytest.raises(InputError, match="another INPUT"):
            maps.make(engine, 0, resumed=True)
        assert maps[0]["p2"].shape == before
        maps.paths[1].write_bytes(b"")  # stopped on the way
        maps.make(build_engine("torchvision", other, "cpu"), 0)
    assert min(maps[n]["p2"].shape[1] for n in (0, 1)) > before[1]


def test_what_no_codec_can_be_trained_on_is_told_before_maps_are_made(tmp_path):
    for levels, crop, told in (
        (("p4", "p5"), 128, "has P4 to P5"),
        (("p3", "p4", "p5", "p6", "p7"), 64, "for P3 to P7 give 128"),
    ):
        with pytest.raises(InputError, match=told):
            CleanMaps(tmp_path, [], levels).check(crop)
    assert CleanMaps(tmp_path, []).least == CleanMaps(tmp_path, [], LEVELS[:4]).least * 2 == 64


def test_the_held_out_are_last_and_never_mirrored():
    views = views_of([None] * 5, list("abcde"), held_out=2, mirror=True)
    assert [one.name for one in views[-2:]] == ["d", "e"]
    assert [one.key for one in views if one.mirrored] == list("abc")
    assert not any(one.mirrored for one in views_of([None] * 5, list("abcde"), 2, False))
    assert len(views_of([None], ["a"], held_out=9, mirror=True)) == 1
