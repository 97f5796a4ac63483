import os
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detectron2_patch.codec.images import picture, pillow, video
from detectron2_patch.codec.varint import varint
from detectron2_patch.data.images import read_image
from detectron2_patch.errors import InputError
from detectron2_patch.settings.codecs import parse_codec
from detectron2_patch.settings.registry import IMAGE_CODECS

pytest.importorskip("imagecodecs", reason="needs the extra codecs")
pytest.importorskip("av", reason="needs the extra codecs")
if not pillow.features.check("avif"):
    pytest.skip("this Pillow has no AVIF", allow_module_level=True)

LOSSY = ["jpeg:90", "jpeg:90/444", "webp:90", "avif:80", "avif:80/444", "jxl:1", "hevc:20"]
LOSSY += ["hevc:20/444", "av1:20"]
LOSSLESS = ["webp:lossless", "jxl:0", "hevc:lossless"]
ALL = LOSSY + LOSSLESS
SIZES = [(1, 1), (1, 9), (7, 2), (15, 17), (33, 64), (50, 31)]


def parse(word):
    return parse_codec(IMAGE_CODECS, word)


def scene(height, width, seed=0):
    """Smooth colours and an edge."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    pixels = 128 + 90 * np.sin(6 * (y + x)[:, :, None] + phase)
    pixels[height // 2 :] *= 0.7
    return pixels.astype(np.uint8)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def psnr(a, b):
    return 10 * np.log10(255**2 / max(((a.astype(float) - b) ** 2).mean(), 1e-9))


@pytest.mark.parametrize("word", ALL)
def test_round_trip(word):
    codec, pixels = parse(word), scene(96, 128)
    codec.check()
    data = codec.encode(pixels)
    decoded = codec.decode(data)
    assert decoded.dtype == np.uint8 and decoded.shape == pixels.shape
    assert len(data) < pixels.size / 4 and psnr(pixels, decoded) > 34
    assert codec.encode(pixels) == data and parse(word).encode(pixels.copy()) == data


@pytest.mark.parametrize("word", LOSSLESS)
@pytest.mark.parametrize("size", SIZES)
def test_lossless_gives_the_very_pixels(word, size):
    codec, pixels = parse(word), noise(*size)
    assert codec.lossless
    np.testing.assert_array_equal(codec.decode(codec.encode(pixels)), pixels)


def test_only_the_unscaled_lossless_is_lossless():
    assert not any(parse(word).lossless for word in LOSSY)
    assert not any(parse(f"{word}@0.5").lossless for word in LOSSLESS)


@pytest.mark.parametrize("word", [*LOSSY, "avif:50@0.5", "hevc:30@0.3", "jpeg:50@0.01"])
@pytest.mark.parametrize("size", SIZES)
def test_any_size_comes_back(word, size):
    codec = parse(word)
    assert codec.decode(codec.encode(noise(*size))).shape == (*size, 3)


@settings(max_examples=25)
@given(st.sampled_from(["jpeg:75", "hevc:30", "av1:30", "webp:80"]), st.integers(1, 70))
def test_odd_sizes_keep_their_borders(word, width):
    """Padding repeats the border; what is cropped leaves the image as it was."""
    codec, pixels = parse(word), np.full((21, width, 3), (200, 60, 90), np.uint8)
    assert np.abs(codec.decode(codec.encode(pixels)).astype(int) - pixels).max() <= 6


def test_a_better_quality_is_nearer_and_longer():
    pixels = scene(64, 64, 3) // 2 + noise(64, 64) // 8
    for words in (("jpeg:30", "jpeg:95"), ("avif:30", "avif:90"), ("jxl:6", "jxl:0.5")):
        worse, better = map(parse, words)
        assert len(worse.encode(pixels)) < len(better.encode(pixels))
        assert psnr(pixels, worse.decode(worse.encode(pixels))) < psnr(
            pixels, better.decode(better.encode(pixels))
        )
    coarse, fine = parse("hevc:40"), parse("hevc:10")
    assert len(coarse.encode(pixels)) < len(fine.encode(pixels))


def test_scaled_bytes_start_with_the_size():
    pixels = scene(100, 300)
    plain, scaled = parse("jpeg:75"), parse("jpeg:75@0.5")
    data = scaled.encode(pixels)
    assert data.startswith(varint(100) + varint(300))
    small = picture.resize(pixels, (50, 150))
    assert scaled.stream(data) == plain.encode(small)
    assert plain.stream(plain.encode(pixels)) == plain.encode(pixels)
    np.testing.assert_array_equal(
        scaled.decode(data), picture.resize(plain.decode(plain.encode(small)), (100, 300))
    )


@pytest.mark.parametrize("size, scale, coded", [((3, 5), 0.5, (2, 3)), ((1, 1), 0.1, (1, 1))])
def test_scaled_sizes_are_rounded_and_never_empty(size, scale, coded):
    assert picture.scaled_size(size, scale) == coded


@pytest.mark.parametrize(
    "word, size, says",
    [
        ("webp:60", (4, 20000), "webp:60 holds 16383 pixels a side, and the image is 20000x4"),
        ("hevc:30", (20000, 4), "hevc:30 holds 16384 pixels a side, and the image is 4x20000"),
        ("av1:30", (4, 20000), "16384"),
        ("jpeg:30", (1, 70000), "65500"),
    ],
)
def test_sizes_that_a_format_cannot_hold_are_refused(word, size, says):
    with pytest.raises(InputError, match=says):
        parse(word).encode(np.zeros((*size, 3), np.uint8))


@pytest.mark.parametrize("word", ["jpeg:30", "avif:30", "jxl:3", "webp:30@0.5", "av1:40@0.5"])
def test_wide_sizes_that_it_holds_come_back(word):
    pixels = np.zeros((2, 20000, 3), np.uint8)
    assert parse(word).decode(parse(word).encode(pixels)).shape == pixels.shape


@pytest.mark.parametrize("word", ["jpeg:95/444", "jpeg:100"])
def test_noise_fits_pillows_buffer(word):
    pixels = noise(240, 319)
    assert parse(word).decode(parse(word).encode(pixels)).shape == pixels.shape


@pytest.mark.parametrize("word", ALL)
@pytest.mark.parametrize("damage", ["empty", "half", "other"])
def test_damaged_bytes_are_refused_in_one_line(word, damage):
    codec = parse(word)
    data = codec.encode(noise(40, 40))
    if damage == "half" and word.startswith("hevc"):
        pytest.skip("FFmpeg's HEVC decoder conceals what is missing")
    bad = {"empty": b"", "half": data[: len(data) // 2], "other": b"\x28\x28no picture"}[damage]
    with pytest.raises(InputError, match="damaged|hold") as error:
        codec.decode(bad)
    assert "\n" not in str(error.value)


def test_an_encoder_that_fails_midway_is_told_in_one_line(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("encoder error -2\nwhen writing")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(
        InputError, match="jpeg:75 failed on an image of 4x3: encoder error -2 when"
    ):
        parse("jpeg:75").encode(noise(3, 4))


@pytest.mark.parametrize("word, module", [("jxl:1", "imagecodecs"), ("hevc:30", "av")])
def test_a_missing_library_says_how_to_install_it(word, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"pip install 'detectron2-patch\[codecs\]'") as error:
        parse(word).check()
    assert word in str(error.value) and "\n" not in str(error.value)


def test_a_pillow_without_avif_says_so(monkeypatch):
    monkeypatch.setattr(pillow.features, "get_supported", lambda: ["jpg", "webp"])
    with pytest.raises(InputError, match="avif:50 needs AVIF, which this Pillow"):
        parse("avif:50").check()


def test_a_pyav_without_the_encoder_says_so(monkeypatch):
    import av

    monkeypatch.setattr(av, "codecs_available", {"libx265"})
    parse("hevc:30").check()
    with pytest.raises(
        InputError, match="av1:30 needs libsvtav1, which PyAV .* lacks; pip install"
    ):
        parse("av1:30").check()


@pytest.mark.parametrize("word", ALL)
def test_details_tell_encoder_and_effort(word):
    details = parse(f"{word}@0.5").details()
    assert details["encoder"] and details["effort"] and details["scaling"]
    assert "scaling" not in parse(word).details()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "LA", "1"])
def test_files_of_any_mode_are_read_as_colour(mode, tmp_path):
    Image.fromarray(scene(20, 30)).convert(mode).save(
        path := tmp_path / f"x.{'jpg' if mode == 'CMYK' else 'png'}"
    )
    pixels = read_image(path, "RGB")
    codec = parse("hevc:lossless")
    np.testing.assert_array_equal(codec.decode(codec.encode(pixels)), pixels)


def test_bgr_views_are_coded_as_they_look():
    """``read_image`` gives a reversed view."""
    pixels = scene(20, 30)[:, :, ::-1]
    codec = parse("webp:lossless")
    np.testing.assert_array_equal(codec.decode(codec.encode(pixels)), pixels)


def test_a_stream_of_no_picture_is_refused():
    with pytest.raises(OSError, match="hevc: "):
        video.decode_picture("hevc", parse("hevc:30").encode(noise(20, 20))[2:20])


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="no scheduling policies here")
def test_an_encoder_leaves_the_process_its_priority():
    """As root, SVT-AV1 would leave it a real-time one, before which all others wait."""
    before = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
    parse("av1:40").encode(np.zeros((64, 64, 3), np.uint8))
    assert (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority) == before
