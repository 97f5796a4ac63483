import pytest
from made_results import made

from detectron2_patch.settings.setting import Setting

P3_P5 = {"p2": None, "p3": 1, "p4": None, "p5": 1, "p6": None}
FINER = {"p2": {"how": "finer", "from": ["p3"]}, "p6": {"how": "coarser", "from": ["p5"]}}


def test_ratios_alone():
    assert Setting.from_json(made(1, 1, 1, 1, 1)["setting"]).label == "clean"
    assert Setting.from_json(made(8, 1, 1.5, 1, "max")["setting"]).label == "8 1 1.5 1 max"


@pytest.mark.parametrize(
    ("more", "label"),
    [
        (
            {"bits": dict.fromkeys(("p2", "p3"), 4), "range": {"p2": "channel", "p3": "channel"}},
            "4 bits P2 P3, range a channel P2 P3",
        ),
        ({"bits": {"p2": 3, "p3": 4, "p4": 3}}, "3 bits P2 P4, 4 bits P3"),
        ({"rank": {"p3": 16}}, "rank 16 P3"),
        (
            {
                "cr": P3_P5,
                "send": ["p3", "p5"],
                "restore": {**FINER, "p4": {"how": "finer", "from": ["p5"]}},
            },
            "send P3 P5, as the study, P4 from P5",
        ),
        (
            {
                "cr": P3_P5,
                "send": ["p3", "p5"],
                "restore": {
                    **FINER,
                    "p4": {"how": "mix", "from": ["p3", "p5"], "weights": [0.5, 0.5]},
                },
            },
            "send P3 P5, as the study, P4 from P3 P5 0.5 0.5",
        ),
        (
            {
                "cr": {**P3_P5, "p3": 2},
                "send": ["p3", "p5"],
                "restore": {level: {"how": "fit", "from": ["p3"]} for level in ("p2", "p4", "p6")},
            },
            "send P3 P5, fitted, ratio 2 P3",
        ),
        (
            {
                "cr": P3_P5,
                "send": ["p3", "p5"],
                "restore": {
                    **FINER,
                    "p4": {"how": "coarser", "from": ["p3"]},
                    "p6": {"how": "subsample", "from": ["p5"]},
                },
            },
            "send P3 P5, P2 P4 from P3",
        ),
        (
            {
                "cr": {**P3_P5, "p3": None},
                "send": ["p5"],
                "restore": {
                    **{level: {"how": "coarser", "from": ["p5"]} for level in ("p2", "p3", "p4")},
                    "p6": {"how": "subsample", "from": ["p5"]},
                },
            },
            "send P5, P2–P4 from P5",
        ),
        (
            {
                "cr": {**dict.fromkeys(P3_P5, 1), "p6": None},
                "send": ["p2", "p3", "p4", "p5"],
                "restore": {"p6": {"how": "subsample", "from": ["p5"]}},
            },
            "send P2–P5",
        ),
    ],
)
def test_other_methods(more, label):
    setting = Setting.from_json({**made(1, 1, 1, 1, 1)["setting"], **more})
    assert setting.label == label
    assert not setting.is_plain
