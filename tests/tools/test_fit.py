"""tools/fit.py, and what it makes in the other commands."""

import shutil

import pytest

from detectron2_patch.codec.fitted import read_fitted
from detectron2_patch.codec.provenance import image_key
from detectron2_patch.results.file import load_results


@pytest.fixture
def fit(load):
    return load("fit")


@pytest.fixture
def arguments(tiny, tiny_opts, train_data):
    def make(*more, weights="weights.pth"):
        return [
            "-o",
            str(tiny / "fitted.npz"),
            "--engine",
            "torchvision",
            "--device",
            "cpu",
            "--config-file",
            "configs/demo.yaml",
            "--train-data",  # as earlier versions had it; test_train_codec has today's --data
            *train_data,
            "--test-data",
            str(tiny / "boxes.json"),
            str(tiny / "images"),
            *more,
            *tiny_opts,
            "MODEL.WEIGHTS",
            str(tiny / weights),
        ]

    return make


def test_fits_on_training_images_alone(fit, arguments, tiny, train_data, monkeypatch):
    """No image that is evaluated is ever read as an image."""
    from detectron2_patch.engines.torchvision import TorchvisionEngine

    read = []
    before = TorchvisionEngine.read
    monkeypatch.setattr(
        TorchvisionEngine, "read", lambda self, path: read.append(path) or before(self, path)
    )
    assert fit.main(arguments("--images", "3")) == 0
    fitted = read_fitted(tiny / "fitted.npz")
    assert {path.parent.name for path in read} == {"train"}
    assert [path.stem for path in read] == ["0", "1", "3"], "spread, not the first three"
    assert fitted.meta["images"] == [image_key(path) for path in read]
    evaluated = {image_key(path) for path in (tiny / "images").iterdir()}
    assert not evaluated & set(fitted.meta["images"])


def test_an_evaluated_image_among_them_is_refused(fit, arguments, tiny, capsys):
    shutil.copy(tiny / "images" / "1.png", tiny / "train" / "2.png")  # under another name
    assert fit.main(arguments()) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "2.png" in error and "1.png" in error and not (tiny / "fitted.npz").exists()


def test_fitted_parts_in_an_evaluation_and_a_sweep(fit, train_net, sweep, arguments, command, tiny):
    assert fit.main(arguments()) == 0
    words = [
        "--scope",
        "pyramid",
        "--send",
        "p3",
        "p5",
        "--restore",
        "fit",
        "--bits",
        "4",
        "--rank",
        "0.9",
        "--range",
        "fitted-level",
        "--fitted",
        str(tiny / "fitted.npz"),
    ]
    assert train_net.main(command(*words)) == 0
    assert sweep.main(command("--grid", "1", *words)) == 0
    first, second = load_results(tiny / "results"), None
    assert len(first) == 1, "the sweep finds the result of the single command"
    setting = first[0]["setting"]
    assert setting["fitted"] == read_fitted(tiny / "fitted.npz").sha256
    assert setting["send"] == ["p3", "p5"] and 1 <= setting["rank"]["p3"] <= 8
    assert sweep.main(command("--grid", "1", "--overwrite", *words)) == 0
    second = load_results(tiny / "results")
    for key in ("setting", "results", "payload"):
        assert first[0][key] == second[0][key], key
    assert first[0]["payload"]["side_bytes"]["restorer"] > 0


def test_parts_of_other_maps_are_refused_and_of_other_heads_are_not(
    fit, train_net, arguments, command, tiny, capsys
):
    import torch

    assert fit.main(arguments()) == 0
    words = ["--rank", "2", "--fitted", str(tiny / "fitted.npz")]
    assert train_net.main(command(*words[:1], "9", *words[2:])) == 2
    assert "rank 9" in capsys.readouterr().err
    state = torch.load(tiny / "weights.pth")
    other = ["MODEL.WEIGHTS", str(tiny / "others.pth")]
    state["model"]["backbone.fpn_output2.weight"] += 1
    torch.save(state, tiny / "others.pth")
    assert train_net.main(command(*words, opts=other)) == 2
    assert "another detector" in capsys.readouterr().err
    assert not list((tiny / "results").glob("*.json"))
    state = torch.load(tiny / "weights.pth")
    state["model"]["roi_heads.box_predictor.cls_score.bias"] += 1
    torch.save(state, tiny / "others.pth")
    assert train_net.main(command(*words, opts=other)) == 0


@pytest.mark.parametrize(
    "words, named",
    [
        (["--restore", "fit", "--send", "p3"], "--fitted"),
        (["--rank", "4"], "--fitted"),
        (["--bits", "4", "--range", "fitted-level"], "--fitted"),
        (["--fitted", "nowhere.npz"], "nowhere.npz"),
        (["--send", "p3", "p9"], "p9"),
        (["--send"], "--send"),
        (["--bits", "12"], "12"),
    ],
)
def test_bad_words_are_told_in_one_line(train_net, command, tiny, capsys, words, named):
    assert train_net.main(command(*words)) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("error: ") and named in error.splitlines()[-1]
    assert not (tiny / "results").exists()


def test_parts_fitted_under_another_configuration_are_refused(
    fit, train_net, arguments, command, tiny, capsys
):
    assert fit.main(arguments()) == 0
    words = ["--rank", "2", "--fitted", str(tiny / "fitted.npz")]
    assert train_net.main(command(*words, opts=["INPUT.FORMAT", "RGB"])) == 2
    assert "configuration" in capsys.readouterr().err


def test_an_image_that_was_fitted_on_is_not_evaluated(
    fit, train_net, arguments, command, tiny, capsys
):
    assert fit.main(arguments()) == 0
    shutil.copy(tiny / "train" / "0.png", tiny / "images" / "1.png")
    words = ["--rank", "2", "--fitted", str(tiny / "fitted.npz")]
    assert train_net.main(command(*words)) == 2
    assert "1.png" in capsys.readouterr().err
