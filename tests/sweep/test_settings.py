import math

import pytest

from detectron2_patch.errors import InputError
from detectron2_patch.ratios import LEVELS
from detectron2_patch.sweep.plan import make_plan
from detectron2_patch.sweep.settings import (
    Setting,
    grid,
    one_at_a_time,
    pairs,
    read_list,
    with_scopes,
)


def test_a_grid_is_every_combination():
    full = grid({level: (1, 2, 4, 8, 16) for level in LEVELS})
    assert len(full) == len(set(full)) == 5**5
    assert full[0] == (1, 1, 1, 1, 1) and full[1] == (1, 1, 1, 1, 2)
    assert grid({"p3": (1, 2), "p6": (4,)}) == [(1, 1, 1, 1, 4), (1, 2, 1, 1, 4)]


def test_one_level_at_a_time_and_pairs_have_the_clean_pyramid_too():
    single = one_at_a_time((2, math.inf))
    assert len(single) == 1 + 5 * 2
    assert single[:3] == [(1, 1, 1, 1, 1), (2, 1, 1, 1, 1), (math.inf, 1, 1, 1, 1)]
    double = pairs((math.inf,))
    assert len(double) == 1 + 10
    assert all(one.count(math.inf) == 2 for one in double[1:])


def test_settings_are_kept_once_in_each_scope():
    found = with_scopes([(1.0,) * 5, (1.0,) * 5, (2.0,) * 5], ["rpn", "pyramid", "rpn"])
    assert found == [Setting((r,) * 5, scope) for scope in ("rpn", "pyramid") for r in (1.0, 2.0)]


def test_a_list_is_read_as_the_command_reads_ratios(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("# P2 … P6\n1 1 1 1 4\n\n1,1,1,1,1,4  # the origin's spelling\n2 1 max 1 1.5\n")
    assert read_list(file) == [
        (1, 1, 1, 1, 4), (1, 1, 1, 1, 4), (2, 1, math.inf, 1, 1.5)
    ]


@pytest.mark.parametrize(
    "text, named", [("1 1 1 1 1\n1 1 0.5 1 1\n", "line 2"), ("1 1\n", "line 1"), ("# none\n", "no")]
)
def test_a_bad_list_is_refused_by_line(tmp_path, text, named):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(InputError, match=named):
        read_list(tmp_path / "list.txt")
    with pytest.raises(InputError, match="nowhere"):
        read_list(tmp_path / "nowhere.txt")


def test_a_plan_says_who_reads_which_treatment():
    plan = make_plan([
        Setting((4.0, 1.0, 1.0, 1.0, 2.0), "rpn"),
        Setting((4.0, 1.0, 1.0, 1.0, 2.0), "pyramid"),
        Setting((2.0, 1.0, 1.0, 1.0, 2.0), "pyramid"),
    ])
    assert plan.treatments == {"p2": (1, 2, 4), "p3": (1,), "p4": (1,), "p5": (1,), "p6": (2,)}
    assert plan.rpn.tolist() == [[2, 0, 0, 0, 0], [2, 0, 0, 0, 0], [1, 0, 0, 0, 0]]
    assert len(plan.merges) == 2 and plan.merge_of[0] == plan.merge_of[1]
    assert plan.box[:, 0].tolist() == [0, 2, 1]  # scope rpn: the box head reads the clean P2
