"""How much of everything: as a GPU is given it, and small enough for a test on a CPU."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """What the parts work on.

    Attributes:
        scenes, training_scenes: of the demo.
        photographs: how many are made.
        photograph: their ``(height, width)`` in pixels.
        opts: overrides of the two zoo configurations.
        demo_opts, training_opts: overrides of the demo's, to evaluate and to train.
        rounds: how often each image's forwards are timed.
        grids: the ratios of each level; a grid has all combinations over five levels.
        gap_settings: settings a scope that are run one by one beside the one pass.
        coded: photographs whose pyramids are encoded.
        rank: principal directions of one of the codings.
        iterations: of each training.
        seeds: trainings from which the loss's noise is taken.
        cpu_seconds: the CPU's training stops after that many, wherever it is.
    """

    scenes: int
    training_scenes: int
    photographs: int
    photograph: tuple[int, int]
    opts: tuple[str, ...]
    demo_opts: tuple[str, ...]
    training_opts: tuple[str, ...]
    rounds: int
    grids: tuple[tuple[float, ...], ...]
    gap_settings: int
    coded: int
    rank: int
    iterations: int
    seeds: int
    cpu_seconds: float


FULL = Sizes(
    scenes=200,
    training_scenes=120,
    photographs=16,
    photograph=(480, 800),  # the network sees 800x1333
    opts=(),
    demo_opts=(),
    training_opts=("DATALOADER.NUM_WORKERS", "4"),
    rounds=3,
    grids=((1.0, 2.0, 4.0, 8.0), (1.0, 2.0, 4.0, 8.0, 16.0)),
    gap_settings=4,
    coded=1,
    rank=32,
    iterations=200,
    seeds=3,
    cpu_seconds=30.0,
)

_NARROW = {
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 1,
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 32,
    "MODEL.ROI_HEADS.NUM_CLASSES": 5,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 100,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 50,
    "INPUT.MIN_SIZE_TEST": 128,
    "INPUT.MAX_SIZE_TEST": 224,
}
_SHORT = {
    "MODEL.RESNETS.DEPTH": 18,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 50,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 50,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 32,
    "INPUT.MIN_SIZE_TRAIN": (64,),
    "SOLVER.IMS_PER_BATCH": 2,
}


def _opts(values: dict) -> tuple[str, ...]:
    return tuple(str(word) for pair in values.items() for word in pair)


SMALL = Sizes(
    scenes=3,
    training_scenes=8,
    photographs=3,
    photograph=(96, 160),
    opts=_opts(_NARROW),
    demo_opts=("INPUT.MIN_SIZE_TEST", "256"),
    training_opts=_opts(_SHORT),
    rounds=1,
    grids=((1.0, 4.0),),
    gap_settings=2,
    coded=1,
    rank=4,
    iterations=20,
    seeds=2,
    cpu_seconds=30.0,
)
