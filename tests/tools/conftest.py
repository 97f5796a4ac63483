import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent

# The demo's detector made so narrow that an evaluation takes a moment.
TINY = [
    "MODEL.RESNETS.STEM_OUT_CHANNELS",
    "4",
    "MODEL.RESNETS.RES2_OUT_CHANNELS",
    "8",
    "MODEL.RESNETS.WIDTH_PER_GROUP",
    "2",
    "MODEL.FPN.OUT_CHANNELS",
    "8",
    "MODEL.ROI_BOX_HEAD.FC_DIM",
    "8",
    "MODEL.ROI_HEADS.NUM_CLASSES",
    "2",
    "INPUT.MIN_SIZE_TEST",
    "64",
    "INPUT.MIN_SIZE_TRAIN",
    "(64,)",
]


def load_tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def load(monkeypatch):
    """Loads a tool by name, with its folder on the path as for a script."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    yield load_tool
    for name in ("common", "sweeping"):
        sys.modules.pop(name, None)


@pytest.fixture
def train_net(load):
    return load("train_net")


@pytest.fixture
def visualize(load):
    return load("visualize")


@pytest.fixture
def sweep(load):
    return load("sweep")


@pytest.fixture
def tiny(tmp_path):
    """A folder with three images, their JSON and the weights of a tiny detector."""
    from detectron2_patch.config import load_cfg
    from detectron2_patch.rcnn.model import FasterRCNN

    generator = np.random.RandomState(0)
    (tmp_path / "images").mkdir()
    images, annotations = [], []
    for number in (3, 1, 2):
        pixels = generator.randint(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 48})
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 7,
                "iscrowd": 0,
                "bbox": [5, 6, 20, 30],
                "area": 600,
            }
        )
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 7, "name": "seven"}, {"id": 9, "name": "nine"}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(document))
    torch.manual_seed(0)
    model = FasterRCNN(load_cfg("configs/demo.yaml", TINY))
    torch.save({"model": model.state_dict()}, tmp_path / "weights.pth")
    return tmp_path


@pytest.fixture
def tiny_opts():
    """Overrides that make the demo's detector the tiny one."""
    return TINY


@pytest.fixture
def command(tiny):
    """Arguments that evaluate the tiny detector; ``command(*more, opts=[…])``."""

    def make(*more, opts=(), engine="torchvision"):
        return [
            *more,
            "--engine",
            engine,
            "--config-file",
            "configs/demo.yaml",
            "--device",
            "cpu",
            "--test-data",
            str(tiny / "boxes.json"),
            str(tiny / "images"),
            "--results-dir",
            str(tiny / "results"),
            *TINY,
            "MODEL.WEIGHTS",
            str(tiny / "weights.pth"),
            *opts,
        ]

    return make


@pytest.fixture
def train_data(tiny):
    """Five training images, none of which is evaluated."""
    folder = tiny / "train"
    folder.mkdir()
    generator = np.random.RandomState(1)
    for number in range(5):
        pixels = generator.randint(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    document = json.loads((tiny / "boxes.json").read_text())
    document["images"] = [
        {"id": n, "file_name": f"{n}.png", "width": 64, "height": 48} for n in range(5)
    ]
    document["annotations"] = []
    (tiny / "train.json").write_text(json.dumps(document))
    return [str(tiny / "train.json"), str(folder)]
