"""Results without a detector, for tests of what reads them: a few flat numbers that add up."""

from itertools import product

from detectron2_patch.settings.setting import Setting

LEVELS = ("p2", "p3", "p4", "p5", "p6")
FULL = dict(zip(LEVELS, (40960, 10240, 2560, 640, 160)))
COST = dict(zip(LEVELS, (5.0, 3.0, 2.0, 1.0, 0.5)))  # points of AP for each doubling


def made(
    *ratios,
    scope="pyramid",
    dataset="cells",
    weights="a" * 64,
    engine="torchvision",
    config="configs/demo.yaml",
    classes=("disc", "bar"),
    **more,
):
    """A result of these five ratios; ``more`` goes into its setting."""
    steps = [6 if r == "max" else (r - 1) ** 0.5 for r in ratios]
    lost = sum(step * COST[level] for step, level in zip(steps, LEVELS))
    lost *= 1 if scope == "pyramid" else 0.5
    bbox = {
        "AP": 70 - lost,
        "AP50": 90 - lost,
        "AP75": 75 - lost,
        "APs": 60 - lost / 3,
        "APm": 71 - lost / 7,
        "APl": 80.3 - lost,
        **{f"AP-{name}": 70 - lost for name in classes},
    }
    sent = {
        level: n if r == 1 else 10 if r == "max" else n // r**2
        for (level, n), r in zip(FULL.items(), ratios)
    }
    return {
        "args": {},
        "setting": {**Setting.of(dict(zip(LEVELS, ratios)), scope).to_json(), **more},
        "results": {"bbox": bbox},
        "payload": {"wire": scope == "pyramid", "unit": "elements", "sent": sent, "full": FULL},
        "dataset": {
            "name": dataset,
            "json": "cells.json",
            "images": "cells",
            "image_count": 10,
            "digest": f"digest of {dataset}",
        },
        "weights": {"path": "model.pth", "sha256": weights},
        "config": {"file": config, "digest": "c"},
        "engine": engine,
        "versions": {},
        "seconds": 1.0,
    }


def made_grid(*values, **more):
    """Every combination of ``values`` in both scopes."""
    return [
        made(*ratios, scope=scope, **more)
        for scope in ("rpn", "pyramid")
        for ratios in product(values, repeat=5)
    ]
