import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detectron2_patch.codec.fitted import Fitted
from detectron2_patch.codec.frames import WIRE, Frames, Layout
from detectron2_patch.errors import InputError
from detectron2_patch.settings.codecs import codec_from_json
from detectron2_patch.settings.levels import ANY, LEVELS
from detectron2_patch.settings.registry import PYRAMID_CODECS
from detectron2_patch.settings.setting import Setting

pytest.importorskip("av", reason="needs the extra codecs")


def smooth(channels=6, height=24, width=40, seed=0):
    """A pyramid of smooth maps of which some channels are far stronger than others."""
    make = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, channels, 6, 8, generator=make)
    strength = torch.logspace(0.7, -1, channels)[:, None, None]
    maps, size = {}, (height, width)
    for level in LEVELS:
        stretched = torch.nn.functional.interpolate(coarse, size, mode="bilinear")
        maps[level] = stretched[0] * strength + 0.3
        size = (-(-size[0] // 2), -(-size[1] // 2))
    return maps


def sizes(pyramid):
    return {level: tuple(one.shape[-2:]) for level, one in pyramid.items()}


def there_and_back(codec, pyramid, fitted=None):
    return codec.decode(codec.encode(pyramid, fitted), sizes(pyramid), fitted, "cpu")


def error_of(codec, pyramid, fitted=None):
    decoded = there_and_back(codec, pyramid, fitted)
    return {level: (decoded[level] - pyramid[level]).abs().max().item() for level in codec.levels}


def made_fit(channels=6):
    """Directions of all levels, the same orthogonal ones."""
    make = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.randn(channels, channels, generator=make))[0].numpy()
    arrays = {}
    for level in LEVELS:
        arrays[f"basis_{level}"] = basis
        arrays[f"mean_{level}"] = np.full(channels, 0.3, np.float32)
    return Fitted({}, arrays, sha256="5" * 64)


@st.composite
def frames(draw):
    sent = draw(st.lists(st.sampled_from(ANY), min_size=1, unique=True))
    ranks = draw(st.lists(st.integers(0, 9), min_size=len(sent), max_size=len(sent)))
    return Frames(
        draw(st.integers(0, 51)),
        tuple(sent),
        tuple(ranks),
        draw(st.sampled_from(["level", "channel"])),
    )


@given(frames())
def test_a_word_is_read_as_the_frames_that_wrote_it(codec):
    assert Frames.parse(codec.arguments) == codec == Frames.parse(codec.word.partition(":")[2])
    assert codec_from_json(PYRAMID_CODECS, codec.to_json()) == codec
    assert codec.levels == tuple(level for level in ANY if level in codec.sent)


@pytest.mark.parametrize(
    "arguments, word, family",
    [
        ("hevc:30", "frames:hevc:30", "frames"),
        ("hevc:30/level", "frames:hevc:30", "frames"),
        ("hevc:30/channel/p5,p3", "frames:hevc:30/p3,p5/channel", "frames/p3,p5/channel"),
        ("hevc:30/rank=8", "frames:hevc:30/rank=8", "frames/rank=8"),
        ("hevc:30/p2=8,p3=8,p4=8,p5=8", "frames:hevc:30/rank=8", "frames/rank=8"),
        ("hevc:30/p5=4,p3", "frames:hevc:30/p3,p5=4", "frames/p3,p5=4"),
    ],
)
def test_one_spelling_is_kept(arguments, word, family):
    codec = Frames.parse(arguments)
    assert (codec.word, codec.family) == (word, family)


@pytest.mark.parametrize(
    ("levels", "carried"),
    [
        (("p3", "p4", "p5", "p6", "p7"), ("p3", "p4", "p5", "p6", "p7")),
        (("p2", "p3", "p4"), ("p2", "p3", "p4")),
        (("p2", "p3", "p4", "p5"), WIRE),
        (LEVELS, WIRE),
    ],
)
def test_where_no_levels_are_named_those_of_the_detector_are_meant(levels, carried):
    for words in ("--frames hevc:30", "--frames hevc:30/channel"):
        setting = Setting.parse(words, levels=levels)
        (codec,) = {one for one in setting.treatments if isinstance(one, Frames)}
        assert codec.levels == carried
        assert Setting.parse(setting.words, levels=levels) == setting
        assert Setting.from_json(setting.to_json()) == setting


@pytest.mark.parametrize("named", ["p2,p3", "p2,p3,p4,p5", "p2=3,p3,p4,p5"])
def test_levels_that_are_named_have_to_be_there(named):
    with pytest.raises(InputError, match="has no p2"):
        Setting.parse(f"--frames hevc:30/{named}", levels=("p3", "p4", "p5"))


@pytest.mark.parametrize(
    "arguments",
    ["", "30", "hevc", "hevc:52", "hevc:-1", "hevc:30.5", "vvc:30", "hevc:30/", "hevc:30/p9"]
    + ["hevc:30/p3,p3", "hevc:30/p3=0", "hevc:30/rank=0", "hevc:30/p3/p5", "hevc:30/rank=3/p3=3"]
    + ["hevc:30/channel/level", "hevc:30/p3=-1", "hevc:30/p3=x", "hevc:30/fitted-level"],
)
def test_bad_words_are_refused_in_one_line(arguments):
    with pytest.raises(InputError, match="write hevc:QP with QP from 0 to 51") as error:
        Frames.parse(arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("given", [dict(sent=()), dict(sent=("p2", "p2")), dict(ranks=(1,))])
def test_bad_values_are_refused(given):
    with pytest.raises(InputError, match="coded frames"):
        Frames(30, **given)


@pytest.mark.parametrize("word", ["hevc:0", "hevc:0/channel", "hevc:0/p5", "hevc:0/p6,p2"])
def test_the_finest_qp_is_near_the_maps(word):
    pyramid, codec = smooth(), Frames.parse(word)
    for level, error in error_of(codec, pyramid).items():
        assert error < 0.01 * (pyramid[level].max() - pyramid[level].min())


def test_a_coarser_qp_has_fewer_bytes_and_more_error():
    pyramid = smooth()
    codecs = [Frames(qp) for qp in (5, 20, 35, 50)]
    lengths = [len(codec.encode(pyramid, None)) for codec in codecs]
    errors = [error_of(codec, pyramid)["p2"] for codec in codecs]
    assert lengths == sorted(lengths)[::-1] and errors == sorted(errors)


def test_a_range_a_channel_keeps_the_weak_ones():
    pyramid = smooth()
    weak = {
        word: (there_and_back(Frames.parse(word), pyramid)["p2"][-1] - pyramid["p2"][-1])
        .abs()
        .max()
        for word in ("hevc:35", "hevc:35/channel")
    }
    assert weak["hevc:35/channel"] < weak["hevc:35"] / 2


def test_components_are_sent_in_the_place_of_channels():
    pyramid, fitted = smooth(), made_fit()
    whole, some = Frames.parse("hevc:0/rank=6"), Frames.parse("hevc:0/rank=2")
    assert max(error_of(whole, pyramid, fitted).values()) < 0.1
    assert len(some.encode(pyramid, fitted)) < len(whole.encode(pyramid, fitted)) / 2
    basis = torch.from_numpy(fitted.arrays["basis_p3"][:2])
    kept = basis.T @ basis @ (pyramid["p3"] - 0.3).flatten(1) + 0.3
    decoded = there_and_back(some, pyramid, fitted)["p3"].flatten(1)
    assert (decoded - kept).abs().max() < 0.1
    assert some.uses_fit and not Frames(30).uses_fit
    assert some.side_bytes(fitted) == {"basis": 4 * 4 * 3 * 6}
    assert Frames(30).side_bytes(None) == {"basis": 0}


def test_components_need_the_fitted_file():
    with pytest.raises(InputError, match="give --fitted FILE"):
        Frames.parse("hevc:30/rank=2").encode(smooth(), None)


def test_equal_maps_give_equal_bytes():
    assert Frames(25).encode(smooth(), None) == Frames(25).encode(smooth(), None)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 1), (1, 5, 3), (7, 2, 9)])
def test_tiny_maps_come_back(shape):
    pyramid = smooth(*shape)
    decoded = there_and_back(Frames(10), pyramid)
    assert {level: one.shape for level, one in decoded.items()} == {
        level: pyramid[level].shape for level in WIRE
    }


def test_constant_maps_come_back_exactly():
    pyramid = {level: torch.full((2, 8, 8), 0.7) for level in LEVELS}
    assert max(error_of(Frames(40), pyramid).values()) < 1e-3


def test_broken_maps_are_refused():
    pyramid = smooth()
    pyramid["p3"][0, 0, 0] = float("nan")
    with pytest.raises(InputError, match="NaN"):
        Frames(30).encode(pyramid, None)


def test_a_picture_that_the_encoder_cannot_hold_is_refused():
    pyramid = {level: torch.zeros(2, 1, 20000) for level in LEVELS}
    with pytest.raises(InputError, match="give ranks, or fewer levels"):
        Frames(30).encode(pyramid, None)


@pytest.mark.parametrize("at", [0, 5, 60, -1])
def test_a_changed_byte_is_refused(at):
    pyramid, codec = smooth(), Frames(30)
    data = bytearray(codec.encode(pyramid, None))
    data[at] ^= 1
    for damaged in (bytes(data), bytes(data[:-3]), b""):
        with pytest.raises(InputError, match="are damaged"):
            codec.decode(damaged, sizes(pyramid), None, "cpu")


def test_bytes_of_another_setting_are_refused():
    pyramid = smooth()
    data = Frames(30).encode(pyramid, None)
    with pytest.raises(InputError, match="damaged"):
        Frames(31).decode(data, sizes(pyramid), None, "cpu")


def test_bytes_of_another_size_are_refused():
    pyramid = smooth()
    with pytest.raises(InputError, match="make no sense"):
        Frames(30).decode(Frames(30).encode(pyramid, None), sizes(smooth(6, 48, 40)), None, "cpu")


def test_an_encoder_that_fails_is_told(monkeypatch):
    from detectron2_patch.codec import frames

    def fail(*args):
        raise OSError("libx265: no memory")

    monkeypatch.setattr(frames, "encode_picture", fail)
    with pytest.raises(InputError, match="frames:hevc:30 failed: libx265: no memory"):
        Frames(30).encode(smooth(), None)


def test_a_missing_library_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"pip install 'detectron2-patch\[codecs\]'"):
        Frames(30).check()


def test_details_tell_encoder_and_effort():
    assert Frames(30).details()["encoder"] == "x265"


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(1, 20), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5
    )
)
def test_tiles_lie_apart_and_come_back(shapes):
    shapes = dict(zip(LEVELS, shapes))
    numbers = iter(range(1, 10**6))
    tiles = {
        level: np.array([[[next(numbers)] * w] * h for _ in range(k)], "<u2")
        for level, (k, h, w) in shapes.items()
    }
    layout = Layout(shapes)
    picture = layout.tile(tiles)
    assert picture.shape == layout.size and min(picture.shape) >= 16
    for level, one in layout.cut(picture).items():
        np.testing.assert_array_equal(one, tiles[level])


def test_the_levels_of_a_real_pyramid_fill_the_picture():
    """256 channels: 16 x 16 tiles of P2, and each coarser level in as wide rows below."""
    layout = Layout({"p2": (256, 64, 96), "p3": (256, 32, 48), "p4": (256, 16, 24)})
    assert layout.size[0] * layout.size[1] == 256 * 64 * 96 * (1 + 1 / 4 + 1 / 16)


def test_ffmpeg_decodes_the_same_picture(tmp_path):
    if not shutil.which("ffmpeg"):
        pytest.skip("this machine has no ffmpeg")
    pyramid, codec = smooth(), Frames.parse("hevc:20/p3")
    data = codec.encode(pyramid, None)
    start = data.index(b"\0\0\0\1")  # behind the number of tiles and the range
    (tmp_path / "x.hevc").write_bytes(data[start:-4])
    command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "x.hevc"), "-f", "rawvideo"]
    command += ["-pix_fmt", "gray10le", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    layout = Layout({"p3": tuple(pyramid["p3"].shape)})
    tiles = layout.cut(np.frombuffer(raw, "<u2").reshape(layout.size))["p3"]
    decoded = codec.decode(data, sizes(pyramid), None, "cpu")["p3"]
    low, high = (np.frombuffer(data[i : i + 2], "<f2").astype(float)[0] for i in (2, 4))
    np.testing.assert_allclose(low + (high - low) * tiles / 1023, decoded, rtol=1e-5)
