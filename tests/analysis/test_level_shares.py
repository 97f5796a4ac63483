import numpy as np
import pytest

from detectron2_patch.analysis.level_shares import level_shares
from detectron2_patch.config import load_cfg
from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.errors import InputError


def dataset_of(sides, tmp_path):
    """One image of 256x256, seen at 512x512, with a square of each side."""
    boxes = [
        {
            "id": i,
            "image_id": 1,
            "category_id": 1,
            "iscrowd": 0,
            "bbox": [0, 0, side, side],
            "area": side * side,
        }
        for i, side in enumerate(sides)
    ]
    return CocoDataset(
        name="squares",
        json_file=tmp_path,
        image_root=tmp_path,
        classes=("square",),
        category_ids=(1,),
        images=[{"id": 1, "file_name": "1.png", "width": 256, "height": 256}],
        annotations={1: boxes},
        degenerate_boxes=0,
        digest="",
    )


def test_each_square_counts_at_its_levels(tmp_path):
    cfg = load_cfg("configs/demo.yaml")  # anchors of 24, 48, 96, 192, 384 network pixels
    shares = level_shares(cfg, dataset_of([12, 40, 60, 120, 230], tmp_path))
    assert shares["area"] == {"large": 0.4, "medium": 0.4, "small": 0.2}
    assert shares["pooled"] == {"p2": 0.4, "p3": 0.2, "p4": 0.2, "p5": 0.2}
    assert shares["anchor"] == {"p2": 0.2, "p4": 0.4, "p5": 0.2, "p6": 0.2}
    assert all(sum(parts.values()) == pytest.approx(1) for parts in shares.values())
    assert np.isfinite(list(shares["pooled"].values())).all()


def test_other_pyramids_have_their_own_levels(tmp_path):
    """The same squares, on anchors of P3 to P7, and pooled from P3 and P4 alone."""
    names = ["MODEL.RPN.IN_FEATURES", ["p3", "p4", "p5", "p6", "p7"]]
    cfg = load_cfg("configs/demo.yaml", [*names, "MODEL.ROI_HEADS.IN_FEATURES", ["p3", "p4"]])
    squares = dataset_of([12, 40, 60, 120, 230], tmp_path)
    shares = level_shares(cfg, squares)
    assert shares["pooled"] == {"p3": 0.6, "p4": 0.4}
    assert shares["anchor"] == {"p3": 0.2, "p5": 0.4, "p6": 0.2, "p7": 0.2}
    retinanet = ["MODEL.META_ARCHITECTURE", "RetinaNet"]
    assert set(level_shares(load_cfg("configs/demo.yaml", retinanet), squares)) == {
        "area",
        "anchor",
    }


def test_levels_whose_names_do_not_tell(tmp_path):
    names = ["map_a", "map_b", "map_c"]
    keys = ["MODEL.RPN.IN_FEATURES", names, "MODEL.ROI_HEADS.IN_FEATURES", names[1:]]
    sizes = ["MODEL.ANCHOR_GENERATOR.SIZES", [[24], [48], [96]]]
    cfg = load_cfg("configs/demo.yaml", [*keys, *sizes])
    squares = dataset_of([12, 40], tmp_path)
    with pytest.raises(InputError, match="give --levels"):
        level_shares(cfg, squares)
    shares = level_shares(cfg, squares, ["p3", "p4", "p5"])
    assert shares["pooled"] == {"p4": 1.0} and shares["anchor"] == {"p3": 0.5, "p5": 0.5}


def test_torchvisions_own_models_do_not_say_their_anchors(tmp_path):
    cfg = load_cfg("configs/torchvision/fcos_resnet50_fpn.yaml")
    with pytest.raises(InputError, match="torchvision's own"):
        level_shares(cfg, dataset_of([12], tmp_path))
