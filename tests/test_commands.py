"""Every command of README, docs and results, typed in a fresh clone.

The tools run: flags, configurations, data and results are read and checked as ever. What takes
hours, a network, COCO or a GPU is cut off at its edge: a scene is 64 pixels wide, a sweep leaves
results that were measured before, a training gives weights that were trained before, and a
download is a file. Of programs that aren't this project's (pip, git) the words are checked.
"""

import argparse
import gzip
import importlib.util
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import PAGES, commands

from detectron2_patch.data import demo
from detectron2_patch.demo import WEIGHTS
from detectron2_patch.results import packing
from detectron2_patch.results.file import load_results

ROOT = Path.cwd()
STUB = b"weights"
NARROW = {"STEM_OUT_CHANNELS": 4, "RES2_OUT_CHANNELS": 16, "WIDTH_PER_GROUP": 1}


class Parsed(Exception):
    """The words of a command were understood."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """What all clones have: few scenes, fitted parts of them, and small files of results."""
    folder = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(demo, "IMAGES", {"train": 3, "val": 2, "test": 2, "unlabeled": 3})
        patched.setenv("DETECTRON2_PATCH_CACHE", str(folder / "cache"))
        for split in ("train", "val"):
            json_file, images = demo.ensure_demo(split)
            shutil.copy(json_file, folder / f"{split}.json")
            (folder / split).symlink_to(Path(images).absolute())
        shutil.copy(min((folder / "val").iterdir()), folder / "photo.jpg")
        fit_parts(folder)
    small = [
        {key: value for key, value in result.items() if key != "bootstrap"}
        for name in ("images", "methods")
        for result in load_results(f"results/demo/{name}.json.gz")
    ]
    packing.write_packed(small, folder / "small.json.gz")
    write_coco(folder / "datasets" / "coco")
    return folder


def fit_parts(folder):
    from detectron2_patch.codec.calibration import fit
    from detectron2_patch.codec.fitted import write_fitted
    from detectron2_patch.data.coco import load_coco
    from detectron2_patch.detectors import load_detector

    small = ["INPUT.MIN_SIZE_TEST", "64"]
    engine = load_detector("configs/demo.yaml", WEIGHTS, small, engine="torchvision", device="cpu")
    train, val = (load_coco(n, folder / f"{n}.json", folder / n) for n in ("train", "val"))
    write_fitted(fit(engine, WEIGHTS, train, val, count=3, kernel=1), folder / "demo.npz")


def write_coco(folder):
    """COCO's layout, of one photograph."""
    from PIL import Image

    (folder / "annotations").mkdir(parents=True)
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 30, 30], "area": 900}
    document = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 64, "height": 64}],
        "annotations": [box | {"iscrowd": 0}],
        "categories": [{"id": i, "name": str(i)} for i in range(1, 81)],
    }
    for split in ("train", "val"):
        (folder / f"{split}2017").mkdir()
        Image.new("RGB", (64, 64)).save(folder / f"{split}2017" / "1.jpg")
        name = folder / "annotations" / f"instances_{split}2017.json"
        name.write_text(json.dumps(document))


@pytest.fixture
def clone(shared, tmp_path, monkeypatch):
    """A clone of the project with the files that the commands speak of; commands run in it."""
    for name in ("benchmarks", "configs", "scripts", "tests", "tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns(".*", "_*"))
    for path in (ROOT / "results").rglob("*.*"):
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        large = path.name.endswith(".json.gz") and "key_levels" not in path.name
        shutil.copy(shared / "small.json.gz" if large else path, target)
    (tmp_path / "folder").mkdir()
    shutil.copy(shared / "small.json.gz", tmp_path / "folder")
    for name in ("grid", "images"):
        shutil.copytree(tmp_path / "folder", tmp_path / name)
    (tmp_path / "key_levels").mkdir()
    shutil.copy(ROOT / "results" / "demo" / "key_levels.json.gz", tmp_path / "key_levels")
    for name in ("train", "val", "train.json", "val.json", "photo.jpg", "demo.npz"):
        (tmp_path / name).symlink_to(shared / name)
    (tmp_path / "fitted.npz").symlink_to(shared / "demo.npz")
    shutil.copy(WEIGHTS, tmp_path / "model_final.pth")
    (tmp_path / "output" / "demo").mkdir(parents=True)
    shutil.copy(WEIGHTS, tmp_path / "output" / "demo")
    (tmp_path / "output" / "bccd").mkdir()
    (tmp_path / "output" / "bccd" / "model_final.pth").write_bytes(STUB)
    (tmp_path / "mine.yaml").write_text('_BASE_: "configs/demo.yaml"\nOUTPUT_DIR: output/mine\n')
    shutil.copytree(ROOT / "configs" / "COCO-Detection", tmp_path / "COCO-Detection")
    (tmp_path / "Base-RCNN-FPN.yaml").symlink_to(ROOT / "configs" / "Base-RCNN-FPN.yaml")
    shutil.copy(
        tmp_path / "COCO-Detection" / "faster_rcnn_R_50_FPN_3x.yaml",
        tmp_path / "COCO-Detection" / "faster_rcnn_R_50_FPN_1x.yaml",
    )
    (tmp_path / "lines.txt").write_text("--rank 4 --bits 4\n--send p3 p5 --restore fit\n")
    write_bccd(tmp_path / "bccd")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(shared / "datasets"))
    monkeypatch.setenv("DETECTRON2_PATCH_CACHE", str(shared / "cache"))
    monkeypatch.setattr(demo, "IMAGES", {"train": 3, "val": 2, "test": 2, "unlabeled": 3})
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    cut_off(monkeypatch, shared)
    yield tmp_path
    for name in ("common", "sweeping"):
        sys.modules.pop(name, None)


def write_bccd(folder):
    from PIL import Image

    (folder / "annotations").mkdir(parents=True)
    for number, split in enumerate(("train", "val")):
        (folder / split).mkdir()
        Image.new("RGB", (320, 240), (number, 0, 0)).save(folder / split / "1.jpg")
        box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 30, 30], "area": 900}
        document = {
            "images": [{"id": 1, "file_name": "1.jpg", "width": 320, "height": 240}],
            "annotations": [box | {"iscrowd": 0}],
            "categories": [{"id": i, "name": str(i)} for i in (1, 2, 3)],
        }
        name = folder / "annotations" / f"instances_{split}.json"
        name.write_text(json.dumps(document))


def cut_off(monkeypatch, shared):
    """Put something small in the place of what is large, far away or slow."""
    import detectron2_patch.codec.calibration
    import detectron2_patch.sweep.run
    from detectron2_patch.codec.fitted import Fitted, read_fitted
    from detectron2_patch.engines import choice, zoo
    from detectron2_patch.engines.torchvision import TorchvisionEngine
    from detectron2_patch.utils import distributed
    from detectron2_patch.weights import download

    load, build = TorchvisionEngine.load_weights, choice.build_engine
    fetched = shared / "fetched.pkl"
    fetched.write_bytes(STUB)

    def small_engine(name, cfg, device, *part):
        cfg = cfg.clone()
        cfg.INPUT.MIN_SIZE_TEST = 64
        if cfg.MODEL.RESNETS.RES2_OUT_CHANNELS > 64:
            for key, value in NARROW.items():
                cfg.MODEL.RESNETS[key] = value
            cfg.MODEL.FPN.OUT_CHANNELS = cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 8
        return build("torchvision", cfg, device, *part)

    def load_weights(engine, path):
        engine.weights = path
        if Path(path).read_bytes() != STUB:
            load(engine, path)

    def train(engine, dataset, start, *, resume):
        path = Path("output/trained.pth")
        path.write_bytes(STUB)
        return path

    def sweep(task):
        assert task.settings
        Path(task.folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(shared / "small.json.gz", task.folder)

    set_ = monkeypatch.setattr
    set_(choice, "choose_engine", lambda wanted, cfg=None: ("torchvision", "stubbed"))
    set_(choice, "build_engine", small_engine)
    set_(TorchvisionEngine, "load_weights", load_weights)
    set_(TorchvisionEngine, "train", train)
    set_(zoo, "zoo_weights", lambda config: "detectron2://zoo" if "zoo" in str(config) else None)
    set_(download, "fetch", lambda address: fetched)
    set_(distributed, "check_gpus", lambda count: None)
    set_(distributed, "launch", lambda *given: 0)
    set_(detectron2_patch.sweep.run, "run", sweep)
    set_(Fitted, "check_detector", lambda *given: None)
    set_(
        detectron2_patch.codec.calibration,
        "fit",
        lambda *given, **named: read_fitted(shared / "demo.npz"),
    )
    set_(torch, "set_num_threads", lambda count: None)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of(page, clone, monkeypatch, capsys):
    before = {str(path.relative_to(clone)) for path in clone.rglob("*") if path.is_file()}
    for words in commands(ROOT / page):
        try:
            status = run(words, monkeypatch)
        except Exception as error:
            raise AssertionError(f"{' '.join(words)}: {error!r}") from error
        assert status == 0, f"{' '.join(words)}\n{capsys.readouterr().err}"
    made = {str(path.relative_to(clone)) for path in clone.rglob("*") if path.is_file()} - before
    assert not_ignored({path for path in made if not path.endswith("small.json.gz")}) == []


def not_ignored(files):
    """Those that git would want to commit."""
    if not (ROOT / ".git").exists() or not shutil.which("git") or not files:
        return []
    ask = ["git", "-C", str(ROOT), "check-ignore", "--no-index", "--stdin"]
    done = subprocess.run(ask, input="\n".join(files), capture_output=True, text=True)
    return sorted(set(files) - set(done.stdout.splitlines()))


def test_there_are_commands():
    found = [words for page in PAGES for words in commands(page)]
    tools = {word for words in found for word in words if re.match(r"tools/\w+\.py$", word)}
    assert len(found) > 60
    assert tools == {str(path) for path in Path("tools").glob("*.py")} - {
        "tools/common.py",
        "tools/early.py",
        "tools/grammar.py",
        "tools/sweeping.py",
    }


def run(words, monkeypatch):
    """The exit status of a command."""
    program, *rest = words
    if program in ("python", "torchrun"):
        while rest[0] != "-m" and not rest[0].endswith(".py"):  # of torchrun
            rest.pop(0)
    match [program, *rest]:
        case ["scripts/in_venv.sh", *inner]:
            assert os.access(program, os.X_OK)
            return run(inner, monkeypatch) if inner else 0
        case ["python" | "torchrun", script, *argv] if script.startswith("tools/"):
            return run_tool(script, argv, monkeypatch)
        case ["python", "-m", "pip", *argv]:
            return check_pip(argv)
        case ["python", script, *argv] if script != "-m":
            return parse(script, argv, monkeypatch)
        case ["pip" | ".venv/bin/pip", *argv]:
            return check_pip(argv)
        case ["pytest", *argv]:
            assert all(Path(word).exists() for word in argv if not word.startswith("-"))
        case ["sphinx-build", *argv]:
            assert "-W" in argv and Path("docs/conf.py").exists()
        case ["scripts/lint.sh" | "scripts/run_sweep.sh" | "benchmarks/gpu.sh", *argv]:
            assert os.access(program, os.X_OK) and set(argv) <= {"--fix", "--loop"}
        case ["git", "clone", address]:
            assert address == "https://github.com/Shenggan/BCCD_Dataset"
        case ["python3", "-m", "venv", ".venv"] | [".", ".venv/bin/activate"]:
            assert "venv=.venv" in Path("scripts/in_venv.sh").read_text()
        case _:
            raise AssertionError("no test knows this program")
    return 0


def run_tool(script, argv, monkeypatch):
    argv = [str(path) for word in argv for path in (sorted(Path().glob(word)) or [word])]
    spec = importlib.util.spec_from_file_location(Path(script).stem, ROOT / script)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    if Path(script).stem == "train_codec":
        monkeypatch.setattr(tool, "_train", leave_codecs)
    if "--run" not in argv:
        return tool.main(argv)
    with monkeypatch.context() as patched, pytest.raises(Parsed):  # its rounds need all results
        patched.setattr("detectron2_patch.sweep.run.run", stop)
        tool.main(argv)
    return 0


def stop(*given, **named):
    raise Parsed


def leave_codecs(args, recipe, folder, *rest):
    """What a training leaves."""
    shutil.copytree(ROOT / "results" / "demo" / "codecs", folder, dirs_exist_ok=True)
    (folder / "checkpoint.pt").touch()


def parse(script, argv, monkeypatch):
    """Whether a script takes these words; it stops there."""

    def parse_and_stop(parser, given=None, namespace=None):
        known(parser, given, namespace)
        raise Parsed

    known = argparse.ArgumentParser.parse_args
    with monkeypatch.context() as patched, pytest.raises(Parsed):
        patched.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
        patched.setattr(sys, "argv", [script, *argv])
        runpy.run_path(str(ROOT / script), run_name="__main__")
    return 0


def check_pip(words):
    """Names of pip's commands, extras and requirements that this project has."""
    setup = (ROOT / "setup.py").read_text()
    action, *rest = words
    assert action in ("install", "download", "wheel")
    for extra in re.findall(r"\.\[(\w+)\]", " ".join(rest)):
        assert f'"{extra}": ' in setup
    if action == "download":
        names = rest[max(i for i, word in enumerate(rest) if word.startswith("-")) + 2 :]
        assert names and all(f'"{name}' in setup for name in names)
    return 0


def test_the_results_of_the_clone_are_results(shared):
    assert packing.unpack(json.loads(gzip.decompress((shared / "small.json.gz").read_bytes())))
