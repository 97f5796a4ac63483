import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
from PIL import Image

from detectron2_patch.config import load_cfg
from detectron2_patch.data.coco import load_coco
from detectron2_patch.errors import InputError
from detectron2_patch.rcnn.model import FasterRCNN
from detectron2_patch.training import data
from detectron2_patch.training.trainer import train

OPTS = {
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 4,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 8,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 2,
    "MODEL.FPN.OUT_CHANNELS": 8,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 8,
    "MODEL.ROI_HEADS.NUM_CLASSES": 2,
    "INPUT.MIN_SIZE_TRAIN": "(64, 96)",
    "INPUT.MAX_SIZE_TRAIN": 128,
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.MAX_ITER": 6,
    "SOLVER.WARMUP_ITERS": 2,
    "SOLVER.CHECKPOINT_PERIOD": 2,
}


def config(folder, **more):
    pairs = {**OPTS, "OUTPUT_DIR": str(folder), **more}
    return load_cfg("configs/demo.yaml", [str(part) for pair in pairs.items() for part in pair])


@pytest.fixture
def dataset(tmp_path):
    """Six noisy images, wide and tall, each with one bright box; one has none."""
    generator = np.random.RandomState(0)
    images, annotations = [], []
    for number in range(1, 7):
        width, height = (80, 60) if number % 2 else (60, 80)
        pixels = generator.randint(0, 99, (height, width, 3), dtype=np.uint8)
        pixels[10:40, 12:44] = 200
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        images.append(
            {"id": number, "file_name": f"{number}.png", "width": width, "height": height}
        )
        if number < 6:
            annotations.append(
                {
                    "id": number,
                    "image_id": number,
                    "category_id": number % 2 + 1,
                    "bbox": [12, 10, 32, 30],
                    "area": 960,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": 1, "name": "odd"}, {"id": 2, "name": "even"}]
    json_file = tmp_path / "boxes.json"
    json_file.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return load_coco("boxes", json_file, tmp_path)


def model_for(cfg):
    torch.manual_seed(0)
    return FasterRCNN(cfg)


def test_writes_what_detectron2_writes(dataset, tmp_path):
    cfg = config(tmp_path / "out")
    path = train(cfg, model_for(cfg), dataset, resume=False)
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {
        "metrics.json",
        "last_checkpoint",
        "model_final.pth",
        "model_0000001.pth",
        "model_0000003.pth",
        "model_0000005.pth",
    }
    assert (tmp_path / "out" / "last_checkpoint").read_text() == path.name == "model_final.pth"
    line = json.loads((tmp_path / "out" / "metrics.json").read_text().splitlines()[-1])
    assert line["iteration"] == 5
    assert {
        "total_loss",
        "loss_cls",
        "loss_box_reg",
        "loss_rpn_cls",
        "loss_rpn_loc",
        "lr",
        "time",
        "data_time",
        "eta_seconds",
    } <= set(line)
    state = torch.load(path, weights_only=True)
    assert set(state) >= {"model", "optimizer", "scheduler", "iteration"}


def test_resumed_equals_uninterrupted(dataset, tmp_path):
    whole_cfg = config(tmp_path / "whole")
    whole = model_for(whole_cfg)
    train(whole_cfg, whole, dataset, resume=False)

    half_cfg = config(tmp_path / "half")
    train(half_cfg, model_for(half_cfg), dataset, resume=False)
    for name in ("model_final.pth", "model_0000005.pth"):  # as a kill after iteration 4 leaves it
        (tmp_path / "half" / name).unlink()
    (tmp_path / "half" / "last_checkpoint").write_text("model_0000003.pth")
    resumed = model_for(half_cfg)
    train(half_cfg, resumed, dataset, resume=True)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values()):
        assert torch.equal(a, b), name


def test_a_killed_training_resumes(dataset, tmp_path):
    """SIGKILL at a moment of its own choosing leaves a folder to go on from."""
    script = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, "tests/training")
        from test_trainer import config, model_for
        from detectron2_patch.data.coco import load_coco
        from detectron2_patch.training.trainer import train
        cfg = config({str(tmp_path / "out")!r}, **{{"SOLVER.MAX_ITER": 5000}})
        data = load_coco("boxes", {str(dataset.json_file)!r}, {str(dataset.image_root)!r})
        train(cfg, model_for(cfg), data, resume=False)
    """)
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "out" / "model_0000003.pth").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    cfg = config(tmp_path / "out")
    reached = int((tmp_path / "out" / "last_checkpoint").read_text()[6:13])
    cfg.SOLVER.MAX_ITER = reached + 3
    path = train(cfg, model_for(cfg), dataset, resume=True)
    assert torch.load(path, weights_only=True)["iteration"] == reached + 2


def test_batches_do_not_depend_on_where_one_starts(dataset, tmp_path):
    cfg = config(tmp_path)
    stream = data.batches(cfg, dataset, seed=7)
    ahead = [next(stream) for _ in range(5)]
    late = next(data.batches(cfg, dataset, seed=7, start=4))
    for (image, target), (other, wanted) in zip(late, ahead[4]):
        assert torch.equal(image, other) and torch.equal(target.boxes, wanted.boxes)


def test_batches_hold_images_of_one_orientation_and_with_boxes(dataset, tmp_path):
    stream = data.batches(config(tmp_path), dataset, seed=0)
    for _ in range(10):
        batch = next(stream)
        assert len({image.shape[1] > image.shape[2] for image, _ in batch}) == 1
        assert all(len(target.boxes) for _, target in batch)


@pytest.mark.parametrize(
    "direction, moved", [("horizontal", [3, 1, 7, 4]), ("vertical", [1, 6, 5, 9])]
)
def test_a_flip_moves_the_boxes_with_the_pixels(direction, moved):
    image = torch.zeros(3, 10, 8)
    image[:, 1:4, 1:5] = 1
    flipped, boxes = data.flip(image, torch.tensor([[1.0, 1.0, 5.0, 4.0]]), direction)
    assert boxes.tolist() == [moved]
    x1, y1, x2, y2 = moved
    assert flipped.sum() == image.sum() == flipped[:, y1:y2, x1:x2].sum()


def test_a_diverged_training_says_so(dataset, tmp_path):
    cfg = config(
        tmp_path / "out",
        **{
            "SOLVER.BASE_LR": 1e30,
            "SOLVER.WARMUP_ITERS": 0,
            "SOLVER.CLIP_GRADIENTS.ENABLED": False,
        },
    )
    with pytest.raises(InputError, match="diverged.*BASE_LR"):
        train(cfg, model_for(cfg), dataset, resume=False)


def test_a_damaged_checkpoint_is_named(dataset, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "last_checkpoint").write_text("model_0000003.pth")
    (out / "model_0000003.pth").write_bytes(b"half a file")
    cfg = config(out)
    with pytest.raises(InputError, match="model_0000003.pth"):
        train(cfg, model_for(cfg), dataset, resume=True)
