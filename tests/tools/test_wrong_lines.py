"""Every wrong line is refused in one line that names the thing, before work, and writes nothing."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_results import made
from PIL import Image
from wrong_lines import LINES

from detectron2_patch.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
TABLE = [tuple(map(str.strip, line.split(" => "))) for line in LINES.strip().splitlines()]
SAID = re.compile("engine |no --config-file")  # what is begun, before what is wrong
PROCESSES = [TABLE[i] for i in range(3, len(TABLE), len(TABLE) // 7)]


def test_there_are_enough_and_none_is_twice():
    assert len(TABLE) >= 245 and len(set(TABLE)) == len({line for line, _ in TABLE}) == len(TABLE)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with something of every kind that a line may name."""
    import torch

    from detectron2_patch.codec.fitted import KIND, Fitted, write_fitted
    from detectron2_patch.results.packing import write_packed

    folder = tmp_path_factory.mktemp("files")
    for name in ("results", "other", "rpn", "noclean", "empty", "images"):
        (folder / name).mkdir()
    image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    for name in ("a.png", "b.png", "photo.jpg", "images/1.png"):
        image.save(folder / name)
    clean, p2, rpn = made(1, 1, 1, 1, 1), made(8, 1, 1, 1, 1), made(8, 1, 1, 1, 1, scope="rpn")
    write = {
        "results/clean": clean,
        "results/p2": p2,
        "other/clean": made(1, 1, 1, 1, 1, dataset="others"),
        "rpn/p2": rpn,
        "noclean/p2": p2,
    }
    for name, result in write.items():
        (folder / f"{name}.json").write_text(json.dumps(result))
    write_packed([clean, p2], folder / "packed.json.gz")
    (folder / "broken.json").write_text("{")
    (folder / "fake.json.gz").write_text("{}")
    (folder / "list.txt").write_text("2 2 2 2 2\n")
    (folder / "bad.txt").write_text("1 1 1\n")
    (folder / "nothing.txt").write_text("# none\n")
    (folder / "w.pth").write_bytes(b"x")
    document = {
        "images": [{"id": 1, "file_name": "1.png", "width": 8, "height": 8}],
        "annotations": [],
        "categories": [{"id": i, "name": str(i)} for i in range(1, 7)],
    }
    (folder / "val.json").write_text(json.dumps(document))
    meta = {"kind": KIND, "images": [], "weights": "0", "config": "0"}
    basis = {f"basis_p{n}": np.eye(64, dtype=np.float32) for n in range(2, 7)}
    variance = {f"variance_p{n}": np.ones(64, np.float32) for n in range(2, 7)}
    write_fitted(Fitted(meta, {**basis, **variance}), folder / "fitted.npz")
    assert torch  # the slow import is here, not in the first line's time
    return folder


class Edge:
    """Stands for the engine: it looks at weights, and whatever else is asked of it is work."""

    name = "torchvision"

    def load_weights(self, path):
        from detectron2_patch.weights import read_checkpoint

        read_checkpoint(path)

    def __getattr__(self, name):
        pytest.fail(f"it began to work: {name}")


@pytest.fixture
def edge(monkeypatch, files):
    """Refusals come before what is stubbed here; the demo is the one picture."""
    from detectron2_patch.data import demo
    from detectron2_patch.engines import choice, torchvision

    monkeypatch.setattr(choice, "build_engine", lambda *_: Edge())
    monkeypatch.setattr(torchvision, "TorchvisionEngine", lambda *_: Edge())
    monkeypatch.setattr(demo, "ensure_demo", lambda split: (files / "val.json", files / "images"))


def tree(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize(("line", "named"), TABLE)
def test_is_refused_in_one_line(load, edge, files, monkeypatch, capfd, line, named):
    tool, *words = shlex.split(line)
    monkeypatch.chdir(files)
    before = tree(files)
    assert load(tool).main(words) == 2
    out, err = capfd.readouterr()
    told = [one for one in err.splitlines() if not SAID.match(one)]
    assert len(told) == 1 and told[0].startswith("error: "), err
    assert named in told[0] and len(told[0]) < 700, told[0]
    assert not out and tree(files) == before


@pytest.mark.parametrize(("line", "named"), PROCESSES)
def test_and_so_it_is_in_a_process_of_its_own(files, line, named):
    tool, *words = shlex.split(line)
    before = tree(files)
    command = [sys.executable, str(ROOT / "tools" / f"{tool}.py"), *words]
    done = subprocess.run(command, cwd=files, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and not done.stdout
    (told,) = [one for one in done.stderr.splitlines() if not SAID.match(one)]
    assert told.startswith("error: ") and named in told and tree(files) == before


GOOD = [
    "sweep --grid 1,2 --dry-run",
    "sweep --grid=1,2 --scope=rpn,pyramid --dry-run",
    "sweep --grid 1 2 -q --dry-run",
    "sweep --subsets nearest,mix:0.5,0.5 --dry-run",
    "sweep --image jpeg:50,avif:50 --scope pyramid --dry-run",
    "show_results results/clean.json --csv t.csv --json t.json",
    "show_results results other -q",
    "pack_results results -o p.json.gz",
    "pack_results results p.json.gz",
    "search results --max-drop 99 --csv f.csv --json f.json --list f.txt",
]


@pytest.mark.parametrize("line", GOOD)
def test_right_lines_are_not(load, files, monkeypatch, tmp_path, capsys, line):
    import shutil

    tool, *words = shlex.split(line)
    shutil.copytree(files, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    assert load(tool).main(words) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    ["--cr 8 1 1 1 1", "--cr 8,1,1,1,1", "--cr=8,1,1,1,1", "--cr=8 1 1 1 1", "--cr 8, 1, 1, 1, 1"]
    + ["--cr 1,8,1,1,1,1", "--cr 8.0 1 1 1 1"],
)
@pytest.mark.parametrize("more", ["", "-o v.png", "--scope pyramid", "MODEL.WEIGHTS w.pth"])
def test_lists_in_every_form(load, words, more):
    visualize = load("visualize")
    import common

    flags = [flag for flag in common.SETTING_FLAGS if flag != "--image"]
    args = common.parse_args(visualize.build_parser(), shlex.split(f"{words} {more}"), flags)
    if "1,8" in words:
        return
    assert common.read_setting(args, None).ratios == (8, 1, 1, 1, 1)


def test_capitals_name_levels_too(load):
    train_net = load("train_net")
    import common

    line = "--send P3,P5 --restore P4=mix:0.5,0.5,P2=coarser".split()
    setting = common.read_setting(common.parse_args(train_net.build_parser(), line), None)
    assert setting.words == "--send p3 p5 --restore p2=coarser p4=mix:0.5,0.5 p6=subsample"


def test_a_home_folder_and_odd_names_that_are_there(load, tmp_path, monkeypatch):
    load("show_results")
    import grammar

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for line, flag in (("~/a b.npz", ""), ("--fitted=~/a b.npz", "--fitted=")):
        assert grammar.as_meant(line) == f"{flag}{tmp_path}/a b.npz"
    for name in ("–a.png", "“a”.png", "‘a’"):
        (tmp_path / name).touch()
        assert grammar.as_meant(name) == name


def test_names_of_pictures_in_capitals_are_no_overrides(load):
    visualize = load("visualize")
    line = visualize.repeat_flag(["--image", "DSC_01.JPG", "B.PNG", "MODEL.WEIGHTS", "w.pth"])
    assert line == ["--image=DSC_01.JPG", "--image=B.PNG", "MODEL.WEIGHTS", "w.pth"]


def test_an_input_is_known_by_another_name_too(load, tmp_path):
    load("show_results")
    import grammar

    (tmp_path / "a.csv").write_text("")
    (tmp_path / "b.csv").symlink_to(tmp_path / "a.csv")
    with pytest.raises(InputError, match="what is read"):
        grammar.check_outputs({"--csv": tmp_path / "b.csv"}, {}, [tmp_path / "a.csv"])


def test_quiet_says_only_what_is_wrong(load, capsys):
    sweep = load("sweep")
    assert sweep.main(["--grid", "1", "2", "--dry-run"]) == 0
    assert "32 settings" in capsys.readouterr().err
    assert sweep.main(["--grid", "1", "2", "--dry-run", "-q"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 32 and not err
    assert sweep.main(["--grid", "x", "-q"]) == 2 and "--grid" in capsys.readouterr().err


def test_a_name_of_several_lines_is_told_in_one(load, capsys):
    assert load("show_results").main(["a\nb\x1b[31m\udc80"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "a\\nb\\x1b[31m\\udc80" in line
