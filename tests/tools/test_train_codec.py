"""tools/train_codec.py: its files, a training that was killed, and mistakes."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
import yaml

from detectron2_patch.codec.learned.file import read_codec
from detectron2_patch.errors import InputError
from detectron2_patch.results.file import load_results

RECIPE = {
    "widths": [4, 4, 4],
    "depth": 1,
    "groups": [1, 2],
    "stride": 16,
    "finest": "p2",
    "context_width": 4,
    "lambdas": [1.0, 2.0],
    "noisy_lambda": 1.0,
    "noisy_iterations": 3,
    "noisy_learning_rate": 0.01,
    "iterations": 3,
    "learning_rate": 0.01,
    "warmup": 1,
    "batch_size": 2,
    "crop": 64,
    "squared_error": 1.0,
    "objectness": 1.0,
    "anchors": 1.0,
    "classes": 1.0,
    "boxes": 1.0,
    "heads_from": 1,
    "proposals": 4,
    "clip": 1.0,
    "ema": 0.9,
    "dead_zone": 0.0,
    "mixed": True,
    "mirror": True,
    "held_out": 1,
    "watch_every": 2,
}


@pytest.fixture
def train(load):
    return load("train_codec")


@pytest.fixture
def arguments(tiny, tiny_opts, train_data):
    """The command line; ``recipe`` are changes of the recipe."""

    def make(*more, output="out", data=train_data, **recipe):
        (tiny / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, **recipe}))
        test = ["--test-data", str(tiny / "boxes.json"), str(tiny / "images")]
        fixed = ["-o", str(tiny / output), "--recipe", str(tiny / "recipe.yaml"), *test]
        fixed += ["--device", "cpu", "--config-file", "configs/demo.yaml", "--data", *data]
        weights = ["MODEL.WEIGHTS", str(tiny / "weights.pth")]
        return [*fixed, *more, *tiny_opts, *weights]

    return make


def test_a_killed_training_ends_where_the_whole_one_does(train, arguments, tiny, monkeypatch):
    """Killed twice: in what the rates share, and in the second rate."""
    assert train.main(arguments(output="whole")) == 0
    whole = [(tiny / "whole" / f"codec_{n}.safetensors").read_bytes() for n in (1, 2)]
    lines = [json.loads(x) for x in (tiny / "whole" / "metrics.json").read_text().splitlines()]
    assert [x["rate"] for x in lines if "held_out" in x] == [0, 0, 1, 1, 2, 2]
    assert lines[-1]["held_out"]["bits_per_pixel"] > 0

    from detectron2_patch.codec.learned.training import Training

    step, left = Training.step, []

    def dies(self):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return step(self)

    monkeypatch.setattr(Training, "step", dies)
    for flags, steps in (((), 2), (("--resume",), 5), (("--resume",), 9)):
        left[:] = [None] * steps
        if steps < 9:
            assert train.main(arguments(*flags, output="killed")) == 130
        else:
            assert train.main(arguments(*flags, output="killed")) == 0
    killed = [(tiny / "killed" / f"codec_{n}.safetensors").read_bytes() for n in (1, 2)]
    assert killed == whole

    first, second = (read_codec(tiny / "whole" / f"codec_{n}.safetensors") for n in (1, 2))
    assert (first.meta["lambda"], second.meta["lambda"]) == (1.0, 2.0)
    assert first.sha256 != second.sha256


def test_a_rate_that_is_added_later_ends_as_if_asked_for_at_once(train, arguments, tiny):
    assert train.main(arguments(output="whole")) == 0
    assert train.main(arguments(output="added", lambdas=[1.0])) == 0
    assert train.main(arguments("--resume", output="added")) == 0
    for name in ("codec_1.safetensors", "codec_2.safetensors"):
        assert (tiny / "added" / name).read_bytes() == (tiny / "whole" / name).read_bytes()


@pytest.mark.parametrize("lambdas", [[1.0], [1.0, 3.0], [2.0, 1.0]])
def test_rates_that_have_begun_stay_as_they_are(train, arguments, tiny, capsys, lambdas):
    """Else a codec's file would name another lambda than it was trained with."""
    assert train.main(arguments()) == 0
    before = [path.read_bytes() for path in sorted((tiny / "out").glob("codec_*"))]
    capsys.readouterr()
    line = refused(train, arguments, capsys, "--resume", lambdas=lambdas)
    assert "has begun are --lambda 1 2; give these first" in line
    assert [path.read_bytes() for path in sorted((tiny / "out").glob("codec_*"))] == before


def test_a_training_starts_with_a_codec_on_other_images(train, arguments, tiny):
    assert train.main(arguments(lambdas=[1.0])) == 0
    first = tiny / "out" / "codec_1.safetensors"
    document = json.loads((tiny / "train.json").read_text())
    document["images"] = document["images"][:3]
    (tiny / "fewer.json").write_text(json.dumps(document))
    data = [str(tiny / "fewer.json"), str(tiny / "train")]
    more = arguments("--start", str(first), data=data, output="more", lambdas=[9.0])
    assert train.main(more) == 0
    old, new = (read_codec(tiny / name / "codec_1.safetensors") for name in ("out", "more"))
    assert new.meta["start"] == old.sha256 and new.meta["lambda"] == 9
    assert set(new.meta["images"]) == set(old.meta["images"])  # of both trainings
    rates = {json.loads(x)["rate"] for x in (tiny / "more" / "metrics.json").open()}
    assert rates == {1}  # no noise


def test_mistakes_of_what_a_training_starts_with(train, arguments, tiny, capsys):
    assert train.main(arguments(lambdas=[1.0])) == 0
    capsys.readouterr()
    first = str(tiny / "out" / "codec_1.safetensors")
    line = refused(train, arguments, capsys, "--start", first, output="o", depth=2)
    assert "--start is a codec with depth 1 and the recipe has 2" in line
    line = refused(train, arguments, capsys, "--start", first, output="o", stride=32)
    assert "--start is a codec with stride 16 and the recipe has 32" in line
    line = refused(train, arguments, capsys, "--start", first, output="o", finest="p3")
    assert "--start is a codec with finest p2 and the recipe has p3" in line
    assert "--start" in refused(train, arguments, capsys, "--start", "nowhere", output="o")
    state = torch.load(tiny / "weights.pth")
    state["model"] = {name: value + 0.5 for name, value in state["model"].items()}
    torch.save(state, tiny / "weights.pth")
    line = refused(train, arguments, capsys, "--start", first, output="o")
    assert "--start was trained on another detector" in line
    assert not (tiny / "o").exists()


def refused(train, arguments, capsys, *more, **changes):
    """The one line that a mistake ends in."""
    assert train.main(arguments(*more, **changes)) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error:")]
    return line


def test_mistakes_of_the_command_line(train, arguments, capsys, tiny):
    assert "--lambda is 'much'" in refused(train, arguments, capsys, "--lambda", "much")
    assert "--lambda is '0'" in refused(train, arguments, capsys, "--lambda", "0")
    assert "--seed is -1" in refused(train, arguments, capsys, "--seed", "-1")
    assert "no " in refused(train, arguments, capsys, "--resume")
    (tiny / "out").mkdir()
    (tiny / "out" / "checkpoint.pt").write_bytes(b"no checkpoint")
    assert "earlier training" in refused(train, arguments, capsys)
    line = refused(train, arguments, capsys, "--resume")
    assert "no checkpoint of this training" in line


def test_mistakes_in_the_recipe(train, arguments, capsys):
    assert "iterations is 0" in refused(train, arguments, capsys, iterations=0)
    assert "colour is unknown" in refused(train, arguments, capsys, colour=1)
    assert "widths has 2 numbers" in refused(train, arguments, capsys, widths=[1, 2])
    assert "stride is 4; give 8 or 16 or 32" in refused(train, arguments, capsys, stride=4)
    assert "finest is 'p4'; give p2 or p3" in refused(train, arguments, capsys, finest="p4")
    assert "crop is 100" in refused(train, arguments, capsys, crop=100)
    assert "groups is []" in refused(train, arguments, capsys, groups=[])
    assert "ema is 1.0" in refused(train, arguments, capsys, ema=1.0)


def test_mistakes_in_the_images(train, arguments, capsys, tiny, train_data):
    assert "make no batch" in refused(train, arguments, capsys, held_out=5)
    shutil.copy(tiny / "images" / "1.png", tiny / "train" / "0.png")
    line = refused(train, arguments, capsys, output="other")
    assert "which is evaluated" in line


def test_another_training_is_not_resumed(train, arguments, capsys, monkeypatch):
    from detectron2_patch.codec.learned.training import Training

    monkeypatch.setattr(Training, "start_rate", stop_after_first(Training.start_rate))
    assert train.main(arguments(noisy_iterations=2)) == 130
    monkeypatch.undo()
    capsys.readouterr()
    line = refused(train, arguments, capsys, "--resume", "--seed", "5", noisy_iterations=2)
    assert "another detector, seed, recipe or images" in line


def stop_after_first(start_rate):
    def start(self, rate):
        if rate:
            raise KeyboardInterrupt
        start_rate(self, rate)

    return start


def in_two_processes(arguments):
    words = [sys.executable, "tools/train_codec.py", "--num-gpus", "2", *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=300)


def test_two_processes_share_each_batch(train, arguments, tiny):
    """From a codec on, where no noise is drawn, they end where one process does. (The heads'
    distances are means over objects, of which each process has its own number.)"""
    document = json.loads((tiny / "train.json").read_text())
    box = {"id": 99, "image_id": document["images"][-1]["id"], "category_id": 7, "iscrowd": 0}
    document["annotations"] = [{**box, "bbox": [5, 5, 20, 20], "area": 400}]
    (tiny / "train.json").write_text(json.dumps(document))
    assert train.main(arguments(lambdas=[1.0])) == 0
    begin = ["--start", str(tiny / "out" / "codec_1.safetensors")]
    alike = dict.fromkeys(("objectness", "anchors", "classes", "boxes"), 0.0)
    alike |= {"lambdas": [9.0], "mixed": False, "held_out": 2}
    assert train.main(arguments(*begin, output="one", **alike)) == 0
    done = in_two_processes(arguments(*begin, output="two", **alike))
    assert done.returncode == 0, done.stderr
    one, two = (
        torch.load(tiny / name / "checkpoint.pt", weights_only=True) for name in ("one", "two")
    )
    start = read_codec(begin[1]).model.state_dict()
    for name, value in one["model"].items():
        assert torch.allclose(value, two["model"][name], atol=1e-5), name
    moved = [n for n, x in one["model"].items() if not torch.allclose(x, start[n], atol=1e-3)]
    assert len(moved) > 20
    metrics = [(tiny / name / "metrics.json").read_text().splitlines() for name in ("one", "two")]
    assert len(metrics[0]) == len(metrics[1])
    assert (tiny / "two" / "codec_1.safetensors").exists()
    assert done.stderr.count("held-out training images") == 1


def test_a_batch_that_processes_cannot_share_is_one_line(arguments):
    done = in_two_processes(arguments(batch_size=1))
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "give a multiple of 2 in --recipe" in errors[0]


def test_a_loss_that_is_no_number_stops_before_the_checkpoint(
    train, arguments, capsys, monkeypatch, tiny
):
    from detectron2_patch.codec.learned import training

    real = training.Training._loss
    monkeypatch.setattr(
        training.Training,
        "_loss",
        lambda self, parts: real(self, parts) * (float("nan") if self.iteration == 2 else 1),
    )
    line = refused(train, arguments, capsys)
    assert "is nan at iteration 2" in line and "--resume" in line
    assert (tiny / "out" / "checkpoint.pt").is_file()
    assert not (tiny / "out" / "codec_1.safetensors").exists()


def test_a_recipe_that_is_not_there(train):
    from detectron2_patch.codec.learned.recipe import read_recipe

    with pytest.raises(InputError, match="--recipe none.yaml: No such file"):
        read_recipe("none.yaml")


def test_what_choices_of_a_recipe_buy(arguments, tiny, tiny_opts, train_data):
    """benchmarks/codec_ablations.py: a row a change, of what was trained by it, and only once."""
    arguments()  # writes the recipe
    model = ["--config-file", "configs/demo.yaml", "--device", "cpu", "--engine", "torchvision"]
    model += ["--test-data", str(tiny / "boxes.json"), str(tiny / "images"), *tiny_opts]
    model += ["MODEL.WEIGHTS", str(tiny / "weights.pth")]
    fixed = ["-o", str(tiny / "changed"), "--recipe", str(tiny / "recipe.yaml")]
    fixed += ["--data", *train_data, "--iterations", "2", "--only", "half the widths"]
    words = [sys.executable, "benchmarks/codec_ablations.py", *fixed, *model]
    for _ in range(2):  # the second time all is there
        done = subprocess.run(words, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("| half")]
    assert "train_codec" not in done.stderr
    codec = read_codec(tiny / "changed" / "half_the_widths" / "codec_2.safetensors")
    assert codec.meta["recipe"]["widths"] == [2, 2, 2] and codec.meta["lambda"] == 0.025
    (result,) = [
        one
        for one in load_results(tiny / "changed" / "results")
        if one["setting"]["pyramid"]["sha256"] == codec.sha256
    ]
    bits = f"{result['payload']['bits_per_pixel']:.3f} / {result['results']['bbox']['AP']:.1f}"
    assert row.split("|")[3].strip() == bits


@pytest.mark.parametrize("engine", ["torchvision", "detectron2"])
def test_from_a_detectron2_yaml_and_checkpoint_to_a_curve(
    engine, train, arguments, load, tiny, tiny_opts, capsys
):
    """The commands of docs/learned.md for a detector of one's own, on either engine."""
    if engine == "detectron2":
        pytest.importorskip("detectron2", reason="needs real detectron2")
    assert train.main(arguments()) == 0
    codecs = [str(tiny / "out" / f"codec_{n}.safetensors") for n in (1, 2)]
    own = ["--engine", engine, "--config-file", "configs/demo.yaml", "--device", "cpu"]
    own += ["--test-data", str(tiny / "boxes.json"), str(tiny / "images"), *tiny_opts]
    own += ["MODEL.WEIGHTS", str(tiny / "weights.pth")]
    pyramid = ["--scope", "pyramid", "--results-dir"]
    sweep = [*pyramid, str(tiny / "swept"), "--bootstrap", "20", "--codec", *codecs, *own]
    assert load("sweep").main(sweep) == 0
    for codec in codecs:
        alone = ["--eval-only", *pyramid, str(tiny / "alone"), "--codec", codec, *own]
        assert load("train_net").main(alone) == 0
    swept, alone = (
        {one["setting"]["pyramid"]["sha256"]: one for one in load_results(tiny / name)}
        for name in ("swept", "alone")
    )
    assert swept.keys() == alone.keys() and len(swept) == 2
    for sha256, one in swept.items():
        assert one["results"] == alone[sha256]["results"]
        assert one["payload"] == alone[sha256]["payload"]
        assert one["engine"] == engine
    assert load("train_net").main(["--eval-only", *pyramid, str(tiny / "swept"), *own]) == 0
    capsys.readouterr()
    assert load("rd").main([str(tiny / "swept"), "--anchor", "none"]) == 0
    assert "| learned" in capsys.readouterr().out
