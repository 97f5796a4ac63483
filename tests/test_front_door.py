"""From Python: the lines of the README as they stand, and the mistakes that one makes there."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import detectron2_patch
from detectron2_patch import (
    InputError,
    evaluate,
    load_demo,
    load_detector,
    parse_setting,
    patch_pyramid,
    patch_rpn,
)
from detectron2_patch.codec.calibration import fit
from detectron2_patch.codec.fitted import write_fitted
from detectron2_patch.config import load_cfg
from detectron2_patch.data import demo
from detectron2_patch.data.coco import load_coco
from detectron2_patch.demo import WEIGHTS
from detectron2_patch.engines.choice import build_engine
from detectron2_patch.settings.levels import LEVELS

SMALL = ["INPUT.MIN_SIZE_TEST", "256"]


def python_blocks(name):
    return re.findall(r"^```python\n(.*?)^```$", Path(name).read_text("utf-8"), re.M | re.S)


@pytest.fixture
def few_scenes(monkeypatch, tmp_path):
    """The demo has two scenes, made below a cache of its own."""
    monkeypatch.setattr(demo, "IMAGES", {"train": 3, "val": 2})
    monkeypatch.setenv("DETECTRON2_PATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)


@pytest.fixture(scope="module")
def detector():
    return load_detector("configs/demo.yaml", WEIGHTS, SMALL, engine="torchvision", device="cpu")


def test_the_lines_of_the_readme(few_scenes, capsys):
    lines, _ = python_blocks("README.md")
    assert len(lines.splitlines()) <= 12 and "Setting" in lines
    exec(compile(lines, "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert float(printed[0].split()[0]) > 50 and "p2" in printed[1] and len(printed) == 2 + 80


def test_the_lines_for_detectron2(detector):
    """With detectron2's names: its own calls are run by tests/engines where it is installed."""
    _, lines = python_blocks("README.md")
    seen = []

    def inference_on_dataset(model, loader, evaluator):
        with torch.inference_mode():
            seen.append(model.backbone(torch.zeros(1, 3, 64, 64)))

    names = {"model": detector.model, "loader": [], "COCOEvaluator": str}
    names |= {"patch_pyramid": patch_pyramid, "inference_on_dataset": inference_on_dataset}
    exec(compile(lines, "README.md", "exec"), names)
    assert seen and not seen[0]["p4"].equal(
        detector.model.backbone(torch.zeros(1, 3, 64, 64))["p4"]
    )


@pytest.mark.parametrize("name", ["load_demo", "load_detector", "evaluate", "patch_pyramid"])
def test_it_is_exported(name):
    assert name in dir(detectron2_patch) and getattr(detectron2_patch, name).__doc__


def test_a_detector_is_loaded_and_evaluated_on_files(few_scenes, detector):
    json_file, folder = demo.ensure_demo("val")
    done = evaluate(detector, (json_file, folder), {"p6": "max"})
    assert done.results == evaluate(detector, "demo_val", "--cr 1 1 1 1 max").results
    assert detector.weights == WEIGHTS and load_demo(device="cpu").model.device.type == "cpu"


def test_the_patch_takes_what_holds_a_model(detector):
    with patch_pyramid(SimpleNamespace(model=detector.model), {"p2": 2}, must_run=False) as patch:
        assert patch.setting.scope == "pyramid"
    with patch_rpn(detector, "--cr 2 1 1 1 1", must_run=False) as patch:
        assert patch.setting.scope == "rpn"
    with patch_rpn(detector, "--cr 2 1 1 1 1 --scope pyramid", must_run=False) as patch:
        assert patch.setting.scope == "pyramid"


def test_words_are_texts_and_numbers_too():
    wanted = parse_setting(send=["p3", "p5"], bits=["4"])
    assert parse_setting(send="p3 p5", bits=4) == wanted == parse_setting(send="p3 p5", bits="4")
    assert parse_setting(cr="2 1 1 1 1") == parse_setting(cr=[2, 1, 1, 1, 1])


@pytest.fixture
def fitted_file(few_scenes, detector, tmp_path):
    train, val = (load_coco(name, *demo.ensure_demo(name)) for name in ("train", "val"))
    parts = fit(detector, WEIGHTS, train, val, count=3, kernel=1, sends=[LEVELS[:4]])
    write_fitted(parts, tmp_path / "demo.npz")
    return tmp_path / "demo.npz"


def test_a_fitted_file_is_taken_by_its_path(fitted_file, detector):
    done = evaluate(detector, "demo_val", "--rank 16", fitted=str(fitted_file))
    assert sum(done.payload["side_bytes"].values()) > 0
    with patch_pyramid(detector, "--rank 16", fitted=fitted_file, must_run=False) as patch:
        assert patch.setting.treatments[0].rank == 16
    with pytest.raises(InputError, match="which is to be evaluated"):
        evaluate(detector, "demo_train", "--rank 16", fitted=fitted_file)


def test_a_fitted_file_of_another_detector_is_refused(fitted_file):
    other = build_engine("torchvision", load_cfg("configs/demo.yaml"), "cpu")
    with pytest.raises(InputError, match="another detector"):
        patch_pyramid(other, "--rank 16", fitted=fitted_file).__enter__()


MISTAKES = {
    "no fitted file": (lambda d: patch_pyramid(d, "--rank 16"), "--fitted FILE"),
    "a fitted file that isn't there": (
        lambda d: patch_pyramid(d, "--rank 16", fitted="no.npz"),
        r"no\.npz.*tools/fit.py",
    ),
    "something else as fitted file": (
        lambda d: patch_pyramid(d, "--rank 16", fitted="README.md"),
        r"README\.md.*tools/fit.py",
    ),
    "a word that is no setting": (lambda d: patch_pyramid(d, "max"), "five ratios"),
    "a ratio in words": (lambda d: patch_pyramid(d, {"p6": "huge"}), "give a ratio"),
    "a number": (lambda d: patch_pyramid(d, 4), "--send p3 p5"),
    "bits that can't be": (lambda d: parse_setting(bits=9), "1 to 8"),
    "an unknown level": (lambda d: parse_setting(send="p3 p7"), "'p7'.*p2, p3"),
    "an unknown dataset": (lambda d: evaluate(d, "demo_vla", {}), "did you mean demo_val"),
    "no dataset": (lambda d: evaluate(d, 3, {}), r"\('val.json', 'val/'\)"),
    "a setting as dataset": (lambda d: evaluate(d, {"p2": 8}), "give a name"),
    "a JSON that isn't there": (lambda d: evaluate(d, ("no.json", "val/")), r"no\.json"),
    "a bare model": (lambda d: evaluate(d.model, "demo_val"), "load_detector"),
    "no checkpoint": (lambda d: load_detector("configs/Base-RCNN-FPN.yaml"), "its checkpoint"),
    "a backbone": (
        lambda d: load_detector(
            "configs/demo.yaml", "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
        ),
        "the backbone",
    ),
    "a checkpoint that isn't there": (
        lambda d: load_detector("configs/demo.yaml", "no.pth"),
        "no.pth",
    ),
    "a configuration that isn't there": (lambda d: load_detector("no.yaml", WEIGHTS), "no.yaml"),
    "an unknown engine": (lambda d: load_demo(engine="onnx"), "torchvision"),
    "an unknown device": (lambda d: load_demo(device="tpu9"), "tpu9"),
    "an image that isn't there": (lambda d: d.detect(d.read("no.jpg")), "no.jpg"),
    "results that aren't there": (lambda d: detectron2_patch.load_results("nowhere"), "nowhere"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line_with_what_to_do(mistake, detector):
    call, words = MISTAKES[mistake]
    with pytest.raises(InputError, match=words) as told:
        result = call(detector)
        if hasattr(result, "__enter__"):
            with result:
                pass
    assert "\n" not in str(told.value)


def test_weights_that_were_never_loaded(few_scenes):
    raw = build_engine("torchvision", load_cfg("configs/demo.yaml", SMALL), "cpu")
    with pytest.raises(InputError, match="never trained.*load_detector"):
        evaluate(raw, "demo_val")
    with pytest.warns(UserWarning, match="never trained"):
        patch_pyramid(raw.model, {"p2": 2}, must_run=False).__enter__()
    raw.load_weights(WEIGHTS)
    evaluate(raw, "demo_val")


def test_importing_the_package_is_cheap():
    import subprocess

    code = "import sys, detectron2_patch; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
