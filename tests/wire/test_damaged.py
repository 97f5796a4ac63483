"""Streams that were cut, altered, swapped or are others': told in one line, or the very content."""

import io
import random
import struct
import zlib
from functools import lru_cache

import pytest
import torch
from codecs_sent import IMAGES, MAPS
from mutations import check, mutated

from detectron2_patch.codec import entropy
from detectron2_patch.codec.transmission import receive_pyramid, send_pyramid
from detectron2_patch.errors import InputError
from detectron2_patch.settings.registry import IMAGE_CODECS, PYRAMID_CODECS
from detectron2_patch.settings.setting import Setting
from detectron2_patch.wire.manifest import Entry, Header, content_digest
from detectron2_patch.wire.stream import StreamReader, StreamWriter

SIZE = (64, 96)


def same(maps):
    return {level: one.numpy().tobytes() for level, one in maps.items()}


@pytest.mark.parametrize("words", MAPS)
def test_a_thousand_mutations_of_maps(words, pyramid):
    """Of the bytes themselves, and of the stream around them.

    Another image's level in the place of this one's is sound in itself: the entry's digest tells.
    """
    if "--frames" in words:
        pytest.importorskip("av")
    treatments = Setting.parse(words).by_level()
    small = {level: one[:1] for level, one in pyramid.items()}
    data = send_pyramid(small, treatments, SIZE)
    other = send_pyramid({level: one.flip(1) for level, one in small.items()}, treatments, SIZE)

    @lru_cache
    def read(changed):
        return same(receive_pyramid(changed, treatments, size=SIZE))

    def read_stream(changed):
        return [read(one) for _, one in StreamReader(io.BytesIO(changed))]

    check(read, data, data[::-1], [read(data)])
    check(read_stream, stream(data), stream(other), [[read(data)], [read(other)]])


def stream(data, file_name="a.png"):
    """A stream of one image."""
    file = io.BytesIO()
    writer = StreamWriter(file, Header(Setting().to_json(), None, None))
    digest = content_digest(data)
    writer.write(Entry(1, file_name, (24, 40), None, 2880, len(data), digest), data)
    writer.close()
    return file.getvalue()


@pytest.mark.parametrize("name", IMAGE_CODECS.names())
def test_a_thousand_mutations_of_a_picture(name, pixels):
    """A picture's own format may have no checksum: its entry has."""
    codec = IMAGE_CODECS.get(name).parse(IMAGES[name])
    try:
        codec.check()
    except InputError as error:
        pytest.skip(str(error))
    data = codec.encode(pixels)
    other = codec.encode(pixels[::-1].copy())

    def read(changed):
        return [(entry.file_name, one) for entry, one in StreamReader(io.BytesIO(changed))]

    check(read, stream(data), stream(other), [[("a.png", data)], [("a.png", other)]])


def test_every_codec_of_the_pyramid_is_among_them():
    assert set(PYRAMID_CODECS.names()) == {"frames", "learned"}, (
        "the latter in test_learned_damaged.py"
    )


@pytest.mark.parametrize("coder", ["waves", "compiled"])
def test_forged_checksums_give_indices_or_one_line(coder, monkeypatch, pyramid):
    """Whatever the coder reads, it ends, and gives indices within the steps."""
    if coder == "compiled":
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr(entropy, "compiled", lambda: None)
    x = (pyramid["p3"] * 8 + 13).clamp(0, 31).to(torch.uint8).numpy()
    data, random_ = entropy.compress(x, 5), random.Random(1)
    for _ in range(300):
        try:
            found = entropy.decompress(mutated(data, random_, data[::-1]), x.shape, 5)
        except ValueError:
            continue
        assert found.shape == x.shape and found.max() < 32


def test_a_wrong_length_takes_no_memory():
    """A frame that says four gigabytes is read as it arrives."""
    good = stream(b"x")
    head = struct.pack("<BII", 1, 0, 2**32 - 1)
    forged = good[:3] + head + struct.pack("<I", zlib.crc32(head))
    with pytest.raises(InputError, match="damaged|ended"):
        list(StreamReader(io.BytesIO(forged + b"x" * 100)))


def test_later_formats_are_refused_by_name():
    good = stream(b"x")
    with pytest.raises(InputError, match="version 2, and this program knows 1"):
        StreamReader(io.BytesIO(good[:2] + b"\2" + good[3:]))
    later = {**Header(Setting().to_json(), None, None).to_json(), "format": 2}
    with pytest.raises(InputError, match="format 2, and this program knows 1"):
        Header.from_json(later)


@pytest.mark.parametrize("data", [None, [], {"kind": "other"}, {"kind": "detectron2_patch"}])
def test_what_is_no_manifest_is_refused(data):
    with pytest.raises(InputError, match="no manifest"):
        Header.from_json(data)
    with pytest.raises(InputError, match="no manifest"):
        Entry.from_json(data)
