import pytest
from made_results import made

from detectron2_patch.settings.labels import is_plain, setting_label

P3_P5 = {"p2": None, "p3": 1, "p4": None, "p5": 1, "p6": None}
FINER = {"p2": {"how": "finer", "from": ["p3"]}, "p6": {"how": "coarser", "from": ["p5"]}}


def test_ratios_alone():
    assert setting_label(made(1, 1, 1, 1, 1)["setting"]) == "clean"
    assert setting_label(made(8, 1, 1.5, 1, "max")["setting"]) == "8 1 1.5 1 max"


@pytest.mark.parametrize(
    ("more", "label"),
    [
        (
            {"bits": dict.fromkeys(("p2", "p3"), 4), "range": {"p2": "channel", "p3": "channel"}},
            "4 bits, range a channel",
        ),
        ({"bits": {"p2": 3, "p3": 4, "p4": 3}}, "3 bits P2 P4, 4 bits P3"),
        ({"rank": {"p3": 16}}, "rank 16"),
        (
            {
                "cr": P3_P5,
                "send": ["p3", "p5"],
                "restore": {**FINER, "p4": {"how": "finer", "from": ["p5"]}},
            },
            "send P3 P5, origin, P4 from P5",
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
            "send P3 P5, origin, P4 from P3 P5 0.5 0.5",
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
    setting = {**made(1, 1, 1, 1, 1)["setting"], **more}
    assert setting_label(setting) == label
    assert not is_plain(setting)


def test_the_origins_own_files():
    setting = {"cr": None, "scope": "rpn", "weights": {"p5": 0.7, "p3": 0.3}}
    assert setting_label(setting) == "send P3 P5, origin, P4 = 0.7 P5 + 0.3 P3"
