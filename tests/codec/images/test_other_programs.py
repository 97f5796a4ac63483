"""Each codec's stream, written to disk, is a file that the format's ordinary program decodes."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from detectron2_patch.codec.images.video import decode_picture
from detectron2_patch.settings.codecs import parse_codec
from detectron2_patch.settings.registry import IMAGE_CODECS

pytest.importorskip("imagecodecs", reason="needs the extra codecs")
pytest.importorskip("av", reason="needs the extra codecs")

# How far a pixel may lie from ours. JPEG XL's decoders and the chroma filters of AVIF's may differ
# in rounding from one version to the next; the others' decoding is laid down to the bit.
PROGRAMS = {
    "jpeg:75": (["djpeg", "-outfile", "OUT", "IN"], "ppm", 0),
    "jpeg:90/444": (["djpeg", "-outfile", "OUT", "IN"], "ppm", 0),
    "webp:60": (["dwebp", "IN", "-o", "OUT"], "png", 0),
    "webp:lossless": (["dwebp", "IN", "-o", "OUT"], "png", 0),
    "avif:50": (["avifdec", "IN", "OUT"], "png", 2),
    "avif:50/444": (["avifdec", "IN", "OUT"], "png", 2),
    "jxl:2": (["djxl", "IN", "OUT"], "png", 2),
    "jxl:0": (["djxl", "IN", "OUT"], "png", 0),
}


def photograph():
    """Colours, edges and grain, of odd size."""
    y, x = np.mgrid[0:75, 0:131]
    waves = [np.sin(x / 9 + y / 13), np.cos(x / 7 - y / 11), np.sin(y / 5)]
    pixels = 128 + 80 * np.stack(waves, axis=2)
    pixels[20:50, 30:70] = (200, 40, 60)
    return np.clip(pixels + np.random.default_rng(0).normal(0, 4, pixels.shape), 0, 255).astype(
        "u1"
    )


def parse(word):
    return parse_codec(IMAGE_CODECS, word)


def program(name):
    if not shutil.which(name):
        pytest.skip(f"this machine has no {name}")
    return name


@pytest.mark.parametrize("scale", ["", "@0.5"])
@pytest.mark.parametrize("word", PROGRAMS)
def test_the_formats_own_program_decodes_the_same_pixels(word, scale, tmp_path):
    command, ending, allowed = PROGRAMS[word]
    program(command[0])
    codec = parse(word + scale)
    stream = codec.stream(codec.encode(photograph()))
    (tmp_path / f"x.{codec.name}").write_bytes(stream)
    paths = {"IN": tmp_path / f"x.{codec.name}", "OUT": tmp_path / f"x.{ending}"}
    subprocess.run(
        [str(paths.get(part, part)) for part in command], check=True, capture_output=True
    )
    with Image.open(paths["OUT"]) as image:
        theirs = np.asarray(image.convert("RGB")).astype(int)
    ours = parse(word).decode(stream)
    assert theirs.shape == ours.shape
    assert np.abs(theirs - ours).max() <= allowed


@pytest.mark.parametrize(
    "word, file_format, pixel_format, decoder",
    [
        ("hevc:30", "hevc", "yuvj420p", "hevc"),
        ("hevc:30/444", "hevc", "yuvj444p", "hevc"),
        ("hevc:lossless", "hevc", "gbrp", "hevc"),
        ("av1:35", "obu", "yuv420p", "libdav1d"),
    ],
)
def test_ffmpeg_decodes_the_same_planes_and_nearly_our_colours(
    word, file_format, pixel_format, decoder, tmp_path
):
    """The planes are what the formats lay down; how chroma is stretched is a program's own."""
    program("ffmpeg")
    codec, pixels = parse(word), photograph()
    data = codec.encode(pixels)
    stream = codec.stream(data)
    (tmp_path / "x").write_bytes(stream)

    def ffmpeg(wanted):
        command = ["ffmpeg", "-v", "error", "-f", file_format, "-i", str(tmp_path / "x")]
        command += ["-sws_flags", "bilinear+accurate_rnd+full_chroma_int"]
        command += ["-f", "rawvideo", "-pix_fmt", wanted, "-"]
        return np.frombuffer(
            subprocess.run(command, check=True, capture_output=True).stdout, np.uint8
        )

    planes = decode_picture(decoder, stream)
    if word != "av1:35":  # its full range makes FFmpeg convert the planes
        assert np.array_equal(ffmpeg(pixel_format), np.concatenate([x.ravel() for x in planes]))
    theirs = ffmpeg("rgb24").reshape(*planes[0].shape, 3)[: pixels.shape[0], : pixels.shape[1]]
    gap = np.abs(theirs.astype(int) - codec.decode(data))
    assert gap.mean() < (3 if "420" in codec.chroma else 1.0)
    assert gap.max() == 0 or not codec.lossless
