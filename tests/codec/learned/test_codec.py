"""The codec as a setting: its file, its words, its bytes, and what it refuses."""

import json

import pytest
import torch

from detectron2_patch.codec.learned.codec import LearnedCodec
from detectron2_patch.codec.learned.file import read_codec
from detectron2_patch.codec.learned.model import PyramidModel
from detectron2_patch.codec.learned.network import latent_size
from detectron2_patch.errors import InputError
from detectron2_patch.settings.registry import PYRAMID_CODECS
from detectron2_patch.settings.setting import Setting

from .conftest import CHANNELS, RECIPE, make_maps


@pytest.fixture
def codec(codec_path):
    return LearnedCodec.parse(str(codec_path))


@pytest.fixture
def sizes(maps):
    return {level: tuple(one.shape[1:]) for level, one in maps.items()}


def test_maps_come_back_in_their_sizes_and_the_same_each_time(codec, maps, sizes):
    data = codec.encode(maps)
    received = codec.decode(data, sizes)
    assert {level: tuple(one.shape) for level, one in received.items()} == {
        level: tuple(one.shape) for level, one in maps.items()
    }
    assert codec.encode(maps) == data
    again = codec.decode(data, sizes)
    assert all(torch.equal(received[level], again[level]) for level in received)


def test_what_is_received_is_what_the_trained_model_makes(codec, model, maps, sizes):
    normal = model.normalise({level: one[None] for level, one in maps.items()})
    latent, _ = model.entropy_model(model.encoder(normal))
    wanted = model.restore_units(model.decoder(latent, sizes))
    received = codec.decode(codec.encode(maps), sizes)
    for level, one in received.items():
        # half-precision weights move a few values of the latent across a step
        assert (one - wanted[level][0]).abs().mean() < 0.02 * wanted[level].abs().mean()


@pytest.mark.parametrize(("stride", "finest"), [(8, "p2"), (32, "p2"), (16, "p3"), (32, "p3")])
def test_other_strides_and_levels(stride, finest, make_codec, maps, sizes):
    """The latent has the size of another level, and what isn't read doesn't count."""
    codec = LearnedCodec.parse(str(make_codec(stride=stride, finest=finest)))
    data = codec.encode(maps)
    received = codec.decode(data, sizes)
    assert {level: tuple(one.shape[1:]) for level, one in received.items()} == sizes
    (latent,) = codec.file.model.encoder({level: one[None] for level, one in maps.items()})
    assert tuple(latent.shape[1:]) == latent_size(stride, sizes)
    same = codec.encode({**maps, "p2": maps["p2"] + 1}) == data
    assert same == (finest == "p3")


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize(
    "levels",
    [("p3", "p4", "p5", "p6", "p7"), ("p2", "p3", "p4"), ("p2", "p3", "p4", "p5", "p6", "p7")],
)
def test_other_pyramids(levels, stride, make_codec):
    """Every level reaches the bytes and comes back; the file and a result's JSON say which."""
    codec = LearnedCodec.parse(str(make_codec(levels, stride=stride)))
    maps = make_maps(levels)
    sizes = {level: tuple(one.shape[1:]) for level, one in maps.items()}
    data = codec.encode(maps)
    received = codec.decode(data, sizes)
    assert codec.levels == levels
    assert {level: tuple(one.shape[1:]) for level, one in received.items()} == sizes
    for level in levels:
        assert codec.encode({**maps, level: maps[level] + 3}) != data
    setting = Setting.parse(["--codec", codec.path], levels=levels)
    known = Setting.from_json(setting.to_json())
    assert known == setting == Setting.parse(known.words, levels=levels)  # by its digest alone
    assert setting.by_level() == dict.fromkeys(levels, codec)


def test_a_pyramid_that_no_codec_carries_is_refused():
    for levels in (("p4", "p5"), ("p1", "p2", "p3", "p4"), ("p2", "p3")):
        with pytest.raises(InputError, match="code its levels one by one"):
            PyramidModel(CHANNELS, RECIPE, levels)


def test_a_codec_of_other_levels_is_refused(make_codec):
    path = make_codec()
    with pytest.raises(InputError, match="has no p2"):
        Setting.parse(["--codec", str(path)], levels=("p3", "p4", "p5", "p6", "p7"))


def test_equal_files_are_equal_settings(codec, codec_path):
    other = LearnedCodec.parse(str(codec_path))
    assert codec == other and hash(codec) == hash(other)
    setting = Setting.parse(["--codec", str(codec_path)])
    assert setting == Setting.parse(["--pyramid", f"learned:{codec_path}"])
    assert setting.by_level()["p2"] == codec


def test_json_names_the_file_by_its_digest_alone(codec):
    data = codec.to_json()
    assert json.loads(json.dumps(data)) == data
    assert data["sha256"] == codec.sha256 and "path" not in data
    known = LearnedCodec.from_json(data)
    assert known == codec
    assert LearnedCodec.parse(known.word.partition(":")[2]) == codec
    with pytest.raises(InputError, match="--codec FILE"):
        known.check()


def test_it_is_registered():
    assert PYRAMID_CODECS.get("learned") is LearnedCodec


def test_another_detector_configuration_or_evaluated_image_is_refused(codec, tmp_path):
    codec.check_detector("w" * 64, "c" * 64)
    with pytest.raises(InputError, match="trained on another detector"):
        codec.check_detector("x" * 64, "c" * 64)
    with pytest.raises(InputError, match="another INPUT or backbone"):
        codec.check_detector("w" * 64, "x" * 64)
    from detectron2_patch.codec.provenance import image_key

    image = tmp_path / "image.bin"
    image.write_bytes(b"pixels")
    codec.check_images([image])
    codec.file.meta["images"].append(image_key(image))
    with pytest.raises(InputError, match="image.bin"):
        codec.check_images([image])


def test_maps_of_another_detector_are_refused(codec, maps):
    with pytest.raises(InputError, match="8 channels, and these have 4"):
        codec.encode({level: one[:4] for level, one in maps.items()})
    with pytest.raises(InputError, match="half as large"):
        codec.encode({**maps, "p3": maps["p3"][:, 1:]})
    with pytest.raises(InputError, match="NaN"):
        codec.encode({**maps, "p2": maps["p2"] * float("nan")})


def test_damaged_bytes_are_one_line(codec, maps, sizes):
    data = codec.encode(maps)
    with pytest.raises(InputError, match="damaged") as told:
        codec.decode(data + b"\1" * 40, sizes)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: data[:8] + b"x" + data[9:],
        lambda data: data.replace(b"learned codec 2", b"learned codec 9"),
        lambda data: data.replace(b"tables", b"stable"),
        lambda data: data[:-100] + b"\0" * 100,
    ],
)
def test_a_damaged_file_is_one_line(codec_path, damage):
    codec_path.write_bytes(damage(codec_path.read_bytes()))
    with pytest.raises(InputError, match="--codec .*train_codec.py makes one") as told:
        read_codec(codec_path)
    assert "\n" not in str(told.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        LearnedCodec.parse(str(tmp_path / "none.safetensors"))
    with pytest.raises(InputError, match="--codec is empty"):
        LearnedCodec.parse("")


def test_a_setting_says_what_the_file_weighs(codec, codec_path):
    size = codec_path.stat().st_size
    assert codec.to_json()["installed_bytes"] == codec.installed_bytes == size
    assert codec.label.endswith(f", {size / 1e6:.2f} MB)")
    read = LearnedCodec.from_json(codec.to_json())
    assert read == codec and read.label == codec.label and read.to_json() == codec.to_json()
    assert Setting.of({"p2": codec, "p3": codec, "p4": codec, "p5": codec}).installed_bytes == size
    assert Setting().installed_bytes == 0


def test_a_result_that_does_not_say_what_the_file_weighs(codec):
    """Those from before sizes were kept."""
    told = {key: value for key, value in codec.to_json().items() if key != "installed_bytes"}
    read = LearnedCodec.from_json(told)
    assert read == codec and read.to_json() == told and "MB" not in read.label
