import pytest
import torch

from detectron2_patch.config import load_cfg
from detectron2_patch.data import demo
from detectron2_patch.data.coco import load_coco


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Five scenes of the demo."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(demo, "IMAGES", {"val": 5})
        return load_coco("scenes", *demo.ensure_demo("val", tmp_path_factory.mktemp("demo")))


@pytest.fixture(scope="session")
def engine():
    """The demo's own detector, on half its image size for speed."""
    from detectron2_patch.demo import WEIGHTS
    from detectron2_patch.engines.torchvision import TorchvisionEngine

    torch.set_num_threads(1)
    engine = TorchvisionEngine(load_cfg("configs/demo.yaml", ["INPUT.MIN_SIZE_TEST", "256"]), "cpu")
    engine.load_weights(WEIGHTS)
    return engine
