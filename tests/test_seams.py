"""A codec of each kind and a restorer from outside, registered here: nothing else is touched."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from detectron2_patch import load_results, pipeline
from detectron2_patch.analysis.rate_distortion import curves
from detectron2_patch.analysis.search import best, find_points
from detectron2_patch.codec.restore import resample
from detectron2_patch.codec.transmission import level_sizes, receive_pyramid, send_pyramid
from detectron2_patch.errors import InputError
from detectron2_patch.patch import patch_pyramid
from detectron2_patch.settings.codecs import ImageCodec, LevelCodec, PyramidCodec, Restorer
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.settings.registry import (
    IMAGE_CODECS,
    LEVEL_CODECS,
    PYRAMID_CODECS,
    RESTORERS,
)
from detectron2_patch.settings.setting import Setting

WORDS = [
    "",
    "--level-codec sign:2",
    "--level-codec - sign:3 - - - --bits 4 - 4 4 4",
    "--send p2 p4 p5 --restore p3=half:0.5 --level-codec sign:2",
    "--send p2 p5 --restore half:0.25",
    "--pyramid coarse:4",
    "--pyramid coarse:2 --restore p5=half:1",
    "--image grey:6",
    "--image grey:8",
    "--send p2 p3 --restore half:0.5 --scope rpn",
    "--level-codec sign:2 --scope rpn",
]


@dataclass(frozen=True)
class Sign(LevelCodec):
    """So many values, spread evenly between the lowest and the highest; nothing is clever."""

    steps: int
    name = "sign"

    @classmethod
    def parse(cls, arguments):
        if not arguments.isdigit() or not 1 < int(arguments) < 256:
            raise InputError(f"sign:{arguments}; give sign:STEPS with 2 to 255")
        return cls(int(arguments))

    @property
    def word(self):
        return f"sign:{self.steps}"

    def encode(self, level, feature, fitted):
        low, high = float(feature.min()), float(feature.max())
        index = ((feature - low) / max(high - low, 1e-9) * (self.steps - 1)).round()
        head = np.array([low, high, len(feature)], "<f4").tobytes()
        return head + index.to(torch.uint8).numpy().tobytes()

    def decode(self, level, data, size, fitted, device):
        low, high, channels = np.frombuffer(data, "<f4", 3)
        index = np.frombuffer(data, np.uint8, offset=12).reshape(int(channels), *size)
        values = low + (high - low) * index.astype(np.float32) / (self.steps - 1)
        return torch.from_numpy(values).to(device)


@dataclass(frozen=True)
class Coarse(PyramidCodec):
    """P2 and P4 in half precision, each shrunk."""

    ratio: int
    name = "coarse"

    @classmethod
    def parse(cls, arguments):
        return cls(int(arguments))

    @property
    def word(self):
        return f"coarse:{self.ratio}"

    @property
    def levels(self):
        return ("p2", "p4")

    def encode(self, pyramid, fitted):
        small = [pyramid[level][:, :: self.ratio, :: self.ratio] for level in self.levels]
        return b"".join(one.half().numpy().tobytes() for one in small)

    def decode(self, data, sizes, fitted, device):
        values, maps = np.frombuffer(data, np.float16).astype(np.float32), {}
        small = {x: [-(-side // self.ratio) for side in sizes[x]] for x in self.levels}
        channels = len(values) // sum(h * w for h, w in small.values())
        for level, (h, w) in small.items():
            part, values = values[: channels * h * w], values[channels * h * w :]
            one = torch.from_numpy(part).reshape(1, channels, h, w).to(device)
            maps[level] = resample(one, sizes[level])[0]
        return maps


@dataclass(frozen=True)
class Grey(ImageCodec):
    """The top bits of the image, raw; 8 of them are the image."""

    bits: int
    name = "grey"

    @classmethod
    def parse(cls, arguments):
        return cls(int(arguments))

    @property
    def word(self):
        return f"grey:{self.bits}"

    @property
    def lossless(self):
        return self.bits == 8

    def encode(self, pixels):
        return np.array(pixels.shape[:2], "<u2").tobytes() + (pixels >> 8 - self.bits).tobytes()

    def decode(self, data):
        height, width = np.frombuffer(data, "<u2", 2)
        pixels = np.frombuffer(data, np.uint8, offset=4).reshape(height, width, 3)
        return pixels << 8 - self.bits


class Half(Restorer):
    """So much of the nearest sent level, resampled."""

    name = "half"

    def sources(self, level, sent):
        return (min(sent, key=lambda one: abs(LEVELS.index(one) - LEVELS.index(level))),)

    def restore(self, level, sources, size, weights, fitted):
        (source,) = sources.values()
        return weights[0] * resample(source, size)


@pytest.fixture(autouse=True)
def registered():
    kinds = {
        LEVEL_CODECS: Sign,
        PYRAMID_CODECS: Coarse,
        IMAGE_CODECS: Grey,
        RESTORERS: Half,
    }
    for registry, cls in kinds.items():
        registry.register(cls)
    yield
    for registry, cls in kinds.items():
        registry.unregister(cls.name)


def test_words_json_and_labels_go_there_and_back():
    settings = [Setting.parse(words) for words in WORDS]
    assert len(set(settings)) == len({one.label for one in settings[:9]}) + 2 == len(WORDS)
    for one in settings:
        again = Setting.parse(f"--scope {one.scope} {one.words}")
        assert again == one == Setting.from_json(one.to_json()) and hash(again) == hash(one)


def test_what_nobody_registered_is_refused():
    for words in ("--level-codec no:2", "--pyramid no:2", "--image no", "--send p2 --restore no"):
        with pytest.raises(InputError, match="'no"):
            Setting.parse(words)
    with pytest.raises(InputError, match="another name"):
        IMAGE_CODECS.register(type("Other", (Grey,), {}))
    RESTORERS.unregister("half")
    with pytest.raises(InputError, match="half"):
        Setting.parse("--send p2 p5 --restore half:0.25")


def test_the_wire_carries_names_versions_and_a_checksum():
    pyramid = {level: torch.rand(3, *size) for level, size in level_sizes(64, 96).items()}
    for words in ("--level-codec sign:9", "--pyramid coarse:2"):
        treatments = Setting.parse(words).by_level()
        data = send_pyramid(pyramid, treatments, (64, 96))
        received = receive_pyramid(data, treatments)
        assert {level: x.shape for level, x in received.items()} == {
            level: x.shape for level, x in pyramid.items()
        }
        name = words.split()[1].partition(":")[0].encode()
        assert name in data
        for damaged in (data[:-1], data[:-9] + b"x" + data[-8:], data.replace(name, b"a" * 4)):
            with pytest.raises(InputError):
                receive_pyramid(damaged, treatments)
        later = data.replace(name + b"\1", name + b"\2")
        with pytest.raises(InputError, match="version 2"):
            receive_pyramid(later, treatments)


@pytest.fixture
def results(make_sweep, tmp_path):
    """Results of the words in one pass."""
    from detectron2_patch.sweep.run import run

    sweep = make_sweep(settings=[Setting.parse(words) for words in WORDS])
    assert run(sweep).written == len(WORDS)
    return {Setting.from_json(one["setting"]): one for one in load_results(sweep.folder)}


def test_one_pass_equals_one_by_one_and_all_that_reads_results_knows_them(
    results, engine, scenes, tmp_path
):
    from detectron2_patch.report.make import make_report

    for setting, found in results.items():
        wanted = pipeline.evaluate(engine, scenes, setting)
        assert found["results"]["bbox"] == wanted.results["bbox"], setting.words
        assert found["payload"] == wanted.payload, setting.words
    clean, lossless = results[Setting()], results[Setting.parse("--image grey:8")]
    assert lossless["results"] == clean["results"]
    pixels = clean["payload"]["image"]["pixels"]
    assert lossless["payload"]["total_bytes"] == 3 * pixels + 4 * len(scenes.images)

    honest = [one for one in results if one.scope == "pyramid"]
    _, points = find_points(results.values())
    assert {one.setting for one in points} == set(honest)
    assert best(points, max_drop=100).cost == min(one.cost for one in points)
    assert {"grey", "coarse", "levels/sign"} <= curves(results.values()).families.keys()
    make_report([_written(results.values(), tmp_path / "made")], tmp_path / "report")
    table = (tmp_path / "report" / "results.csv").read_text()
    assert all(one.label in table for one in results)


def _written(results, folder):
    from detectron2_patch.results.file import write_result

    for one in results:
        write_result(one, folder)
    return folder


def test_the_patch_refuses_an_image_codec(engine):
    with pytest.raises(InputError, match="codes the image"):
        with patch_pyramid(engine.model, Setting.parse("--image grey:6")):
            pass
    with pytest.raises(InputError, match="scope"):
        Setting.parse("--image grey:6 --scope rpn")
    for words in ("--image grey:6 --send p2", "--pyramid coarse:2 --bits 4"):
        with pytest.raises(InputError, match="leave"):
            Setting.parse(words)
