import math

import pytest

from detectron2_patch.errors import InputError
from detectron2_patch.settings.grids import (
    Base,
    Reduction,
    Setting,
    combine,
    grid,
    one_at_a_time,
    pairs,
    plain,
    read_list,
    subsets,
    with_scopes,
)
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.settings.parsing import parse_setting
from detectron2_patch.settings.treatments import Restored, Sent
from detectron2_patch.sweep.plan import make_plan


def test_a_grid_is_every_combination():
    full = grid({level: (1, 2, 4, 8, 16) for level in LEVELS})
    assert len(full) == len(set(full)) == 5**5
    assert full[:2] == [plain((1, 1, 1, 1, 1)), plain((1, 1, 1, 1, 2))]
    assert grid({"p3": (1, 2), "p6": (4,)}) == [plain((1, 1, 1, 1, 4)), plain((1, 2, 1, 1, 4))]


def test_one_level_at_a_time_and_pairs_have_the_clean_pyramid_too():
    single = one_at_a_time([Reduction(2), Reduction(math.inf)])
    assert len(single) == 1 + 5 * 2
    assert single[:3] == [
        plain(one) for one in ((1, 1, 1, 1, 1), (2, 1, 1, 1, 1), (math.inf, 1, 1, 1, 1))
    ]
    double = pairs([Reduction(math.inf)])
    assert len(double) == 1 + 10
    assert all(one.count(Sent(math.inf)) == 2 for one in double[1:])


def test_a_level_alone_takes_ratios_and_bits_on_a_base():
    base = Base(send=("p2", "p3"), bits=("8", "8", "-", "-", "-"))
    found = one_at_a_time([Reduction(2, bits="4"), Reduction(bits="-")], base)
    p2, p3 = Sent(bits=8, range="level"), Sent(bits=8, range="level")
    less = Sent(2.0, bits=4, range="level")
    assert [one[:2] for one in found] == [
        (p2, p3),
        (less, p3),
        (Sent(), p3),
        (p2, less),
        (p2, Sent()),
    ]
    assert all(isinstance(one, Restored) for treatments in found for one in treatments[2:])


def test_all_subsets_with_each_restorer():
    found = subsets(["nearest", "origin:p3"])
    assert len(found) == 31 + 1 and found[0] == plain([1] * 5)
    sent = {tuple(isinstance(one, Sent) for one in treatments) for treatments in found}
    assert len(sent) == 31 and not any(one == (False,) * 5 for one in sent)


def test_a_grid_over_sent_levels_with_each_number_of_bits():
    base = Base(send=("p3", "p5"))
    found = grid(dict.fromkeys(LEVELS, (1, 2)), base, [Reduction(bits="4"), Reduction(bits="8")])
    assert len(found) == len(set(found)) == 2 * 2 * 2
    assert {one[1] for one in found} == {
        Sent(ratio, bits=bits, range="level") for ratio in (1.0, 2.0) for bits in (4, 8)
    }


def test_combinations_of_what_settings_send():
    four = ["--send", "p2", "p3", "p4", "p5"]
    settings = [tuple(parse_setting(send=four[1:], bits=[bits]).values()) for bits in ("2", "4")]
    found = combine(settings)
    assert len(found) == len(set(found)) == 2**4 and set(settings) <= set(found)
    for one in found:
        assert one[4] == Restored("subsample", (("p5", one[3]),))
    some = combine([settings[0], tuple(parse_setting(send=["p3"], bits=["2"]).values())])
    assert len(some) == 2**3, "P3 is always sent, the others are or aren't"


def test_settings_are_kept_once_in_each_scope():
    ones, twos = plain([1] * 5), plain([2] * 5)
    found = with_scopes([ones, ones, twos], ["rpn", "pyramid", "rpn"])
    assert found == [Setting(one, scope) for scope in ("rpn", "pyramid") for one in (ones, twos)]


def test_a_list_is_read_as_the_command_reads_ratios(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("# P2 … P6\n1 1 1 1 4\n\n1,1,1,1,1,4  # the origin's spelling\n2 1 max 1 1.5\n")
    assert read_list(file) == [
        plain(one) for one in ((1, 1, 1, 1, 4), (1, 1, 1, 1, 4), (2, 1, math.inf, 1, 1.5))
    ]


def test_a_list_takes_the_other_flags_of_a_setting(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text(
        "--send p3 p5 --bits 4  # two levels\n1 2 1 1 1 --restore p2=coarser --send p3 p4 p5 p6\n"
    )
    first, second = read_list(file)
    assert first == tuple(parse_setting(send=["p3", "p5"], bits=["4"]).values())
    assert second[1] == Sent(2.0) and second[0] == Restored("coarser", (("p3", Sent(2.0)),))


@pytest.mark.parametrize(
    "text, named",
    [
        ("1 1 1 1 1\n1 1 0.5 1 1\n", "line 2"),
        ("1 1\n", "line 1"),
        ("# none\n", "no"),
        ("1 1 1 1 1 --bit 4", "line 1.*--bit"),
    ],
)
def test_a_bad_list_is_refused_by_line(tmp_path, text, named):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(InputError, match=named):
        read_list(tmp_path / "list.txt")
    with pytest.raises(InputError, match="nowhere"):
        read_list(tmp_path / "nowhere.txt")


def test_a_plan_says_who_reads_which_treatment():
    plan = make_plan(
        [
            Setting(plain((4, 1, 1, 1, 2)), "rpn"),
            Setting(plain((4, 1, 1, 1, 2)), "pyramid"),
            Setting(plain((2, 1, 1, 1, 2)), "pyramid"),
        ]
    )
    assert plan.treatments == {
        "p2": plain((1, 4, 2)),
        "p3": plain((1,)),
        "p4": plain((1,)),
        "p5": plain((1,)),
        "p6": plain((2,)),
    }
    assert plan.rpn.tolist() == [[1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [2, 0, 0, 0, 0]]
    assert len(plan.merges) == 2 and plan.merge_of[0] == plan.merge_of[1]
    assert plan.box[:, 0].tolist() == [0, 1, 2]  # scope rpn: the box head reads the clean P2


def test_ranks_are_those_of_the_fitted_parts():
    found = grid(
        {level: (1.0,) for level in LEVELS},
        Base(rank_of=lambda level, number: int(number)),
        [Reduction(rank="4"), Reduction(rank="8", bits="5")],
    )
    assert [{(one.rank, one.bits) for one in setting} for setting in found] == [{(4, 0)}, {(8, 5)}]
