import pytest
import torch

# The demo's detector made so narrow that a run takes a moment.
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
    "128",
    "INPUT.MIN_SIZE_TRAIN",
    "(64,)",
]


@pytest.fixture(scope="session")
def detectron2():
    """Real detectron2, for the tests that need it."""
    return pytest.importorskip(
        "detectron2", reason="needs real detectron2, which is not installed here"
    )


@pytest.fixture(scope="session")
def tiny_opts():
    """Overrides that make the demo's detector tiny."""
    return TINY


@pytest.fixture(scope="session")
def tiny_engine(detectron2):
    """Make a tiny model of real detectron2 with random weights; ``tiny_engine(opts, file)``."""

    def make(opts=(), config_file="configs/demo.yaml"):
        from detectron2_patch.config import load_cfg
        from detectron2_patch.engines.detectron2 import Detectron2Engine

        torch.manual_seed(0)
        return Detectron2Engine(load_cfg(config_file, [*TINY, *map(str, opts)]), "cpu")

    return make
