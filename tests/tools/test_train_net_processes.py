"""The command in several processes, on the CPU: the numbers of one process, or a clear end."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from detectron2_patch import load_results

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
CR = ["--cr", "2", "4", "8", "4", "2"]


def start(arguments, prefix=(), **options):
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *prefix, "tools/train_net.py", *arguments],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        **options,
    )


def finish(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.fixture(params=["torchvision", "detectron2"])
def engine(request):
    if request.param == "detectron2":
        pytest.importorskip(
            "detectron2", reason="needs real detectron2, which is not installed here"
        )
    return request.param


def test_two_processes_give_the_numbers_of_one(train_net, command, tiny, engine):
    opts = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", "DATALOADER.NUM_WORKERS", "0"]
    results = {}
    for how, prefix, flags in (
        ("one", [], []),
        ("flags", [], ["--num-gpus", "2"]),
        ("torchrun", TORCHRUN, []),
    ):
        arguments = command(*CR, *flags, "--scope", "pyramid", opts=opts, engine=engine)
        folder = tiny / how
        arguments[arguments.index("--results-dir") + 1] = str(folder)
        status, out, err = finish(start(arguments, prefix))
        assert status == 0, err
        assert out.count("APs") == 1  # one process prints
        (results[how],) = load_results(folder)
        (name,) = [file.name for file in folder.iterdir()]
        assert engine in name
    one = results["one"]
    assert one["results"]["bbox"]["AP"] is not None
    for how in ("flags", "torchrun"):
        for key in ("results", "payload", "dataset", "setting", "weights", "config", "engine"):
            assert results[how][key] == one[key], (how, key)


def test_two_processes_give_the_detections_of_one(tiny, command, engine, tmp_path):
    """By rank and in order, what the images give in one process."""
    script = tmp_path / "detect.py"
    script.write_text(f"""
import pickle, sys
from detectron2_patch.utils import distributed
from detectron2_patch.config import load_cfg
from detectron2_patch.data.coco import load_coco
from detectron2_patch.engines.choice import build_engine
from detectron2_patch.pipeline import detect_dataset

with distributed.joined("cpu"):
    cfg = load_cfg("configs/demo.yaml", {[*opts_of(command)]!r})
    engine = build_engine({engine!r}, cfg, "cpu")
    engine.load_weights({str(tiny / "weights.pth")!r})
    dataset = load_coco("boxes", {str(tiny / "boxes.json")!r}, {str(tiny / "images")!r})
    parts = distributed.gather(detect_dataset(engine, dataset, 0))
    if parts is not None:
        with open(sys.argv[1], "wb") as file:
            pickle.dump([one for part in parts for one in part], file)
""")
    found = []
    for prefix in ([], TORCHRUN):
        path = tmp_path / f"{len(found)}.pkl"
        environment = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
        subprocess.run(
            [sys.executable, *prefix, str(script), str(path)],
            check=True,
            timeout=300,
            env=environment,
        )
        found.append(np.load(path, allow_pickle=True))
    one, two = found
    assert [d["image_id"] for d in one] == [d["image_id"] for d in two] == [1, 2, 3]
    assert sum(len(d["scores"]) for d in one) > 30
    for a, b in zip(one, two):
        assert all(np.array_equal(a[key], b[key]) for key in ("boxes", "scores", "classes"))


def opts_of(command):
    """The overrides of the tiny detector, with every detection kept."""
    arguments = command()
    first = arguments.index("MODEL.RESNETS.STEM_OUT_CHANNELS")
    return [*arguments[first:], "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"]


def test_a_process_that_dies_ends_the_run(tiny, command, engine):
    """Killed while it evaluates: a clear error, no result, no hang."""
    document = json.loads((tiny / "boxes.json").read_text())
    document["images"] = [{**document["images"][0], "id": number} for number in range(1, 3001)]
    document["annotations"] = [{**document["annotations"][0], "image_id": 1}]
    (tiny / "boxes.json").write_text(json.dumps(document))
    process = start(command("--num-gpus", "2", engine=engine, opts=["DATALOADER.NUM_WORKERS", "0"]))
    victim = wait_for_worker(process.pid, rank=1)
    os.kill(victim, signal.SIGKILL)
    began = time.monotonic()
    status, out, err = finish(process)
    assert time.monotonic() - began < 60
    assert status == 2
    assert "error: process 1 of 2 ended by signal SIGKILL" in err and "no result" in err
    assert "Traceback" not in err and not out
    assert not (tiny / "results").exists()


def wait_for_worker(parent, rank):
    """The process id of a rank among the children, once torch is loaded there."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        for child in children(parent):
            try:
                with open(f"/proc/{child}/environ") as file:
                    mine = f"\0RANK={rank}\0" in f"\0{file.read()}"
                with open(f"/proc/{child}/maps") as file:
                    if mine and "torchvision/_C" in file.read():
                        return child
            except OSError:
                continue
        time.sleep(0.2)
    raise AssertionError("no worker started")


def children(parent):
    with open(f"/proc/{parent}/task/{parent}/children") as file:
        return [int(child) for child in file.read().split()]


@pytest.mark.parametrize("what", ["image", "config"])
def test_a_mistake_in_several_processes_is_one_line(tiny, command, what):
    opts = ["MODEL.KEYPOINT_ON", "True"] if what == "config" else []
    if what == "image":
        (tiny / "images" / "3.png").write_bytes(b"not an image")  # in the share of rank 1
    status, out, err = finish(start(command("--num-gpus", "2", opts=opts)))
    assert status == 2 and not out
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert ("3.png" if what == "image" else "KEYPOINT_ON") in line
    assert "Traceback" not in err and not (tiny / "results").exists()


@pytest.mark.parametrize(
    "flags, named",
    [
        (["--num-gpus", "-1"], "--num-gpus is -1"),
        (["--num-machines", "2"], "--dist-url"),
        (["--num-machines", "2", "--machine-rank", "2", "--dist-url", "tcp://a:1"], "rank 2"),
        (["--num-gpus", "2", "--dist-url", "a:1"], "a:1"),
        (["--num-gpus", "64", "--device", "cuda"], "this machine has"),
    ],
)
def test_bad_numbers_of_processes_are_refused(train_net, command, tiny, capsys, flags, named):
    arguments = command(*flags)
    if "cuda" in flags:
        start = arguments.index("cpu") - 1
        del arguments[start : start + 2]
    assert train_net.main(arguments) == 2
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert len(lines) == 1 and named in lines[0]
    assert not (tiny / "results").exists()


def test_more_processes_than_torchrun_started_are_refused(train_net, command, capsys, monkeypatch):
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_WORLD_SIZE", "1")):
        monkeypatch.setenv(name, value)
    assert train_net.main(command("--num-gpus", "4")) == 2
    assert "torchrun started 1" in capsys.readouterr().err


def test_two_processes_train_together(tiny, command):
    opts = [
        "MODEL.WEIGHTS",
        "",
        "SOLVER.MAX_ITER",
        "3",
        "SOLVER.IMS_PER_BATCH",
        "2",
        "OUTPUT_DIR",
        str(tiny / "out"),
        "SOLVER.CHECKPOINT_PERIOD",
        "2",
    ]
    train = ["--train", "--train-data", str(tiny / "boxes.json"), str(tiny / "images")]
    status, out, err = finish(start(command(*train, "--num-gpus", "2", opts=opts)))
    assert status == 0, err
    (line,) = (tiny / "out" / "metrics.json").read_text().splitlines()
    assert json.loads(line)["iteration"] == 2
    assert (tiny / "out" / "last_checkpoint").read_text() == "model_final.pth"
    assert len(load_results(tiny / "results")) == 1


@pytest.mark.parametrize(
    "opts, named",
    [
        (["SOLVER.IMS_PER_BATCH", "3"], "SOLVER.IMS_PER_BATCH is 3 for 2 processes"),
        (["SEED", "-1"], "SEED is -1"),
        (["MODEL.FPN.NORM", "SyncBN"], "MODEL.FPN.NORM is 'SyncBN'"),
    ],
)
def test_what_processes_cannot_share_is_refused(monkeypatch, opts, named):
    from detectron2_patch.config import load_cfg
    from detectron2_patch.errors import InputError
    from detectron2_patch.training import trainer

    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=named):
        trainer.train(load_cfg("configs/demo.yaml", opts), None, None, resume=False)
