"""Every setting has one name: over all results that the project ships."""

import math
from pathlib import Path

import pytest

from detectron2_patch.results.file import load_results
from detectron2_patch.settings.labels import columns_of, distinct_labels
from detectron2_patch.settings.setting import Setting

FOLDERS = sorted(path for path in Path("results").iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_no_two_settings_of_a_folder_share_a_name_or_columns(folder):
    settings = {Setting.from_json(one["setting"]) for one in load_results(folder)}
    labels = distinct_labels(settings)
    clean = {one for one in settings if one.is_clean}
    assert len({(one.scope, label) for one, label in labels.items()}) == len(settings)
    rows = {
        (one.scope, one.fitted, *columns_of(one.by_level()).values()) for one in settings - clean
    }
    assert len(rows) == len(settings - clean)


@pytest.mark.parametrize(
    "words, label",
    [
        ("--bits 4", "4 bits"),
        ("--bits 4 4 4 4 -", "4 bits P2–P5"),
        ("--cr 2 2 2 2 2 --bits 4", "ratio 2, 4 bits"),
        ("--cr 2 1 2 1 1 --bits 4", "ratio 2 P2 P4, 4 bits"),
        ("--send p2 p3 p4 p5 --bits 4", "send P2–P5, 4 bits"),
        ("--send p2 p3 p4 --bits 4 - 4 - -", "4 bits P2 P4"),
        ("--bits 4 --range channel channel level level level", "range a channel P2 P3"),
    ],
)
def test_levels_are_named_unless_all_that_is_sent_has_the_value(words, label):
    assert Setting.parse(words).label.endswith(label)


def test_columns_say_what_becomes_of_each_level():
    found = columns_of(
        Setting.parse("--cr 1 1 max 1 1 --send p3 p4 p5 --bits - 4 - 3 -").by_level()
    )
    assert [found[f"p{n}_ratio"] for n in range(2, 7)] == [None, 1, math.inf, 1, None]
    assert [found[f"p{n}_bits"] for n in range(2, 7)] == [None, 4, None, 3, None]
    assert found["p3_range"] == "level" and found["p2_restore"] == "from P3"
    assert found["codec"] is None
    assert columns_of(Setting.parse("--image jpeg:50").by_level())["codec"] == "jpeg:50"
