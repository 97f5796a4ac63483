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


def build(name):
    """The demo's own detector in an engine, on half its image size for speed."""
    from detectron2_patch.demo import WEIGHTS
    from detectron2_patch.engines.choice import build_engine

    torch.set_num_threads(1)
    cfg = load_cfg("configs/demo.yaml", ["INPUT.MIN_SIZE_TEST", "256"])
    engine = build_engine(name, cfg, "cpu")
    engine.load_weights(WEIGHTS)
    return engine


@pytest.fixture(scope="session")
def engine():
    return build("torchvision")


@pytest.fixture(scope="session", params=["torchvision", "detectron2"])
def each_engine(request):
    from detectron2_patch.engines.choice import detectron2_problem

    if request.param == "detectron2" and (problem := detectron2_problem()):
        pytest.skip(problem)
    return build(request.param)
