import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import LEVELS, parse_cr, ratio_to_json

ratios = st.one_of(
    st.just("max"),
    st.integers(1, 64).map(str),
    st.floats(1, 64, allow_nan=False).map(repr),
)


@given(st.lists(ratios, min_size=5, max_size=5))
def test_six_entries_mean_the_same_as_their_last_five(entries):
    assert parse_cr(["1", *entries]) == parse_cr(entries)


@given(st.lists(ratios, min_size=5, max_size=5))
def test_json_form_reads_back_to_the_same_ratios(entries):
    parsed = parse_cr(entries)
    assert parse_cr([ratio_to_json(parsed[level]) for level in LEVELS]) == parsed


def test_the_origins_example_is_p6_at_four():
    assert parse_cr("1 1 1 1 1 4".split()) == {"p2": 1, "p3": 1, "p4": 1, "p5": 1, "p6": 4}


def test_max_is_infinite():
    assert parse_cr("max 1 1 1 1".split())["p2"] == math.inf


@pytest.mark.parametrize(
    "entries, named",
    [
        ("", "0 ratios"),
        ("1 1 1 1", "4 ratios"),
        ("1 1 1 1 1 1 1", "7 ratios"),
        ("2 1 1 1 1 4", "'2'"),
        ("max 1 1 1 1 4", "'max'"),
        ("1 1 0 1 1", "'0'"),
        ("1 1 -2 1 1", "'-2'"),
        ("1 1 0.5 1 1", "'0.5'"),
        ("1 1 nan 1 1", "'nan'"),
        ("1 1 inf 1 1", "'inf'"),
        ("1 1 four 1 1", "'four'"),
        ("1 1 1e999 1 1", "'1e999'"),
    ],
)
def test_refusals_name_the_value_in_one_line(entries, named):
    with pytest.raises(InputError) as refusal:
        parse_cr(entries.split())
    assert named in str(refusal.value)
    assert "\n" not in str(refusal.value)
