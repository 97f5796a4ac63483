"""Pictures that a detector would read wrongly, or not at all."""

import io
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from detectron2_patch.data.images import read_image
from detectron2_patch.errors import InputError

DEEP = {
    "png of 16 bits": (np.uint16, "png"),
    "tiff of 16 bits": (np.uint16, "tiff"),
    "tiff of 32 bits": (np.int32, "tiff"),
    "tiff of floats": (np.float32, "tiff"),
}


def replace(tiny, edit, picture, ending="png", **options):
    """Picture 3 becomes another one."""
    picture.save(tiny / "images" / f"3.{ending}", **options)
    entry = {"file_name": f"3.{ending}", "width": picture.width, "height": picture.height}
    edit(lambda d: [one.update(entry) for one in d["images"] if one["id"] == 3])


@pytest.mark.parametrize("tool", ["train_net", "sweep", "train"])
@pytest.mark.parametrize("kind", DEEP)
def test_a_depth_that_would_be_clipped_to_white_is_refused(call, tiny, edit, engine, tool, kind):
    dtype, ending = DEEP[kind]
    picture = Image.fromarray(np.arange(48 * 64).reshape(48, 64).astype(dtype))
    replace(tiny, edit, picture, ending)
    status, line, _ = call(tool, engine)
    assert status == 2 and f"3.{ending} has" in line and "scale it to 8 bits" in line


def test_a_depth_that_would_be_clipped_is_not_drawn(call, tiny):
    Image.fromarray(np.full((48, 64), 4000, np.uint16)).save(tiny / "images" / "3.png")
    assert "scale it to 8 bits" in call("visualize")[1]


@pytest.mark.parametrize("tool", ["train_net", "sweep", "train", "level_shares"])
def test_a_side_that_rounds_to_nothing_is_refused(call, tiny, edit, engine, tool):
    replace(tiny, edit, Image.new("RGB", (4000, 1)))
    status, line, _ = call(tool, engine)
    assert status == 2 and "3.png: 4000 x 1 pixels become" in line and "MAX_SIZE" in line


def test_a_side_that_rounds_to_nothing_is_not_drawn(call, tiny):
    Image.new("RGB", (4000, 1)).save(tiny / "images" / "3.png")
    assert "4000 x 1 pixels become" in call("visualize")[1]


def tags(*entries):
    """EXIF of (tag, type, count, value) as they are written."""
    body = b"".join(struct.pack("<HHI", *one[:3]) + one[3] for one in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + bytes(4)


BROKEN = {
    "cut": b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01",
    "no tiff": b"Exif\0\0garbage that is no header",
    "type": tags((0x112, 99, 1, bytes(4))),
    "far": tags((0x112, 2, 4000, b"\xff\xff\xff\x7f")),
    "text": tags((0x112, 2, 4, b"six\0")),
    "90": tags((0x112, 3, 1, struct.pack("<HH", 90, 0))),
    "fraction of nothing": tags((0x112, 5, 1, struct.pack("<I", 0))),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_exif_is_no_broken_picture(call, tiny, edit, engine, kind):
    pixels = np.random.RandomState(1).randint(0, 256, (48, 64, 3), dtype=np.uint8)
    replace(tiny, edit, Image.fromarray(pixels), "jpg", exif=BROKEN[kind])
    for tool in ("train_net", "train"):
        status, _, told = call(tool, engine)
        assert status == 0 and told.count("EXIF tags can't be read") <= 1
    read = read_image(tiny / "images" / "3.jpg", "RGB")
    with Image.open(tiny / "images" / "3.jpg") as image:
        assert np.array_equal(read, np.asarray(image.convert("RGB")))


def test_a_warning_of_pillow_is_one_line(call, tiny, edit):
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0"  # cut: Pillow warns and reads on
    replace(tiny, edit, Image.new("RGB", (64, 48)), "jpg", exif=exif)
    status, _, told = call("train_net")
    assert status == 0 and ".py:" not in told and "warnings.warn" not in told


def test_a_picture_that_is_too_large_says_how_to_allow_it(call, tiny, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    status, line, _ = call("train_net")
    assert status == 2 and "PIL.Image.MAX_IMAGE_PIXELS" in line and "restore" not in line


def originals():
    """Small pictures of several formats, as bytes."""
    pixels = np.random.RandomState(0).randint(0, 256, (9, 11, 3), dtype=np.uint8)
    exif = tags((0x112, 3, 1, struct.pack("<HH", 6, 0)))
    for ending in ("png", "jpeg", "tiff", "bmp", "webp", "gif", "ppm"):
        file = io.BytesIO()
        more = {"exif": exif} if ending in ("png", "jpeg", "webp", "tiff") else {}
        Image.fromarray(pixels).save(file, ending, **more)
        yield file.getvalue()


ORIGINALS = list(originals())


@settings(
    max_examples=500,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_a_mutated_picture_is_read_or_named(tmp_path, data):
    content = bytearray(data.draw(st.sampled_from(ORIGINALS)))
    places = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(places, max_size=8)):
        content[place] = value
    cut = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    path = tmp_path / "mutated"
    path.write_bytes(content[:cut])
    try:
        pixels = read_image(path)
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert pixels.dtype == np.uint8 and pixels.shape[2:] == (3,)
