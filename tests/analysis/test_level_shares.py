import numpy as np
import pytest

from detectron2_patch.analysis.level_shares import level_shares
from detectron2_patch.config import load_cfg
from detectron2_patch.data.coco import CocoDataset


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
