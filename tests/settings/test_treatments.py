import math

import pytest

from detectron2_patch.errors import InputError
from detectron2_patch.settings.setting import Setting
from detectron2_patch.settings.treatments import (
    CLEAN,
    Restored,
    Sent,
    all_levels,
    sources_of,
)


def test_levels_left_out_are_clean_and_unknown_levels_are_refused():
    assert all_levels({"p6": 4}) == {
        **dict.fromkeys(("p2", "p3", "p4", "p5"), CLEAN),
        "p6": Sent(4.0),
    }
    with pytest.raises(InputError, match="p7"):
        all_levels({"p7": 2})
    for bad in (0.5, math.nan, Sent(0.5)):
        with pytest.raises(InputError, match="p2"):
            all_levels({"p2": bad})


def test_plain_ratios_say_nothing_else():
    """Results of plain ratios keep the form, and so the names, that they always had."""
    assert Setting.of({"p3": math.inf, "p6": 1.5}, "rpn", "f" * 64).to_json() == {
        "cr": {"p2": 1, "p3": "max", "p4": 1, "p5": 1, "p6": 1.5},
        "scope": "rpn",
    }


def test_every_key_there_and_back():
    p3, p5 = Sent(2.0, 16, 4, "fitted-channel"), Sent(bits=8, range="level")
    made_p4 = Restored("mix", (("p3", p3), ("p5", p5)), (0.7, 0.3))
    treatments = {
        "p2": Restored("fit", (("p3", p3), ("p5", p5))),
        "p3": p3,
        "p4": made_p4,
        "p5": p5,
        "p6": Restored("subsample", (("p5", p5),)),
    }
    setting = Setting.of(treatments, "pyramid", "f" * 64).to_json()
    assert setting == {
        "cr": {"p2": None, "p3": 2, "p4": None, "p5": 1, "p6": None},
        "scope": "pyramid",
        "send": ["p3", "p5"],
        "restore": {
            "p2": {"how": "fit", "from": ["p3", "p5"]},
            "p4": {"how": "mix", "from": ["p3", "p5"], "weights": [0.7, 0.3]},
            "p6": {"how": "subsample", "from": ["p5"]},
        },
        "rank": {"p3": 16},
        "bits": {"p3": 4, "p5": 8},
        "range": {"p3": "fitted-channel", "p5": "level"},
        "fitted": "f" * 64,
    }
    assert Setting.from_json(setting) == Setting.of(treatments, "pyramid", "f" * 64)


def test_a_level_restored_from_a_restored_one_names_all_its_sources():
    p3 = Sent()
    p5 = Restored("finer", (("p3", p3),))
    p6 = Restored("subsample", (("p5", p5),))
    assert list(sources_of("p6", p6)) == [("p6", p6), ("p5", p5), ("p3", p3)]


@pytest.mark.parametrize(
    "broken",
    [
        {"cr": None},
        {"cr": {"p2": 1}},
        {"cr": dict.fromkeys(("p2", "p3", "p4", "p5", "p6"))},
        {"cr": {"p2": None, "p3": 1, "p4": 1, "p5": 1, "p6": 1}, "restore": {"p2": {"how": "fit"}}},
        {
            "cr": {"p2": None, "p3": 1, "p4": 1, "p5": 1, "p6": 1},
            "restore": {"p2": {"how": "finer", "from": ["p2"]}},
        },
    ],
)
def test_what_is_no_setting_is_refused(broken):
    with pytest.raises(ValueError, match="setting"):
        Setting.from_json({"scope": "rpn", **broken})
