import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import LEVELS, ratio_to_json
from detectron2_patch.settings.parsing import parse_setting
from detectron2_patch.settings.treatments import RANGES, Restored, Sent, all_levels
from detectron2_patch.settings.words import FLAGS, treatment_words

P3, P5 = ("p3", Sent()), ("p5", Sent())


def parse_line(line: str, rank_of=lambda level, number: int(number)):
    """A line of flags, as a command gives them."""
    given, flag = {}, None
    for word in line.split():
        if word.startswith("--"):
            given[flag := FLAGS[word]] = []
        else:
            given[flag].append(word)
    return parse_setting(**given, rank_of=rank_of)


def test_no_words_are_the_clean_pyramid():
    assert parse_setting() == all_levels({})


@pytest.mark.parametrize(
    "one, other",
    [
        ("--send p3 p5", "--send p5 p3"),
        ("--send p2 p3 p4 p5 p6", ""),
        ("--send p3 p5 --bits 4", "--send p3 p5 --bits - 4 - 4 - --range level"),
        (
            "--bits 4 --range channel",
            "--bits 4 4 4 4 4 --range channel channel channel channel channel",
        ),
        ("--send p3 p5 --restore nearest", "--send p3 p5"),
        ("--send p3 p5", "--send p3 p5 --restore p2=coarser p4=finer p6=subsample"),
        ("--restore origin", "--send p3 p5 --restore p2=coarser p4=mix:0.5,0.5 p6=finer"),
        ("--restore origin:p3", "--send p3 p5 --restore origin:1,0"),
        ("--restore origin:p5", "--send p3 p5 --restore p2=coarser p4=coarser p6=finer"),
        ("--send p3 p5 --restore p4=mix:1,0", "--send p3 p5 --restore p4=finer"),
        ("--cr 1 1 2 1 1 1", "--cr 1 2 1 1 1"),
        ("--send p2 --cr 2.0 1 1 1 1", "--send p2 --cr 2 1 1 1 1"),
    ],
)
def test_spellings_of_one_setting(one, other):
    assert parse_line(one) == parse_line(other)


def test_the_nearest_level_and_of_two_the_finer():
    found = parse_setting(send=["p3", "p5"])
    assert found["p2"] == Restored("coarser", (P3,)) and found["p4"] == Restored("finer", (P3,))
    found = parse_setting(send=["p2", "p6"])
    assert found["p3"].sources[0][0] == "p2" and found["p5"].sources[0][0] == "p6"
    assert found["p4"] == Restored("finer", (("p2", Sent()),))


def test_a_side_without_a_sent_level_takes_the_other():
    found = parse_setting(send=["p5"], restore=["finer"])
    assert found["p4"] == Restored("coarser", (P5,))
    found = parse_setting(send=["p3"], restore=["mix:0.5,0.5"])
    assert found["p2"] == Restored("coarser", (P3,)) and found["p4"] == Restored("finer", (P3,))
    assert found["p6"] == Restored("subsample", (("p5", Restored("finer", (P3,))),))


def test_restored_levels_are_made_from_what_was_received():
    found = parse_setting(cr=[1, 2, 1, 1, 1], send=["p3"], bits=[4])
    assert found["p2"].sources == (("p3", Sent(2.0, bits=4, range="level")),)


@st.composite
def treatments(draw):
    sent = draw(st.sets(st.sampled_from(LEVELS), min_size=1))
    ratios = [
        draw(st.sampled_from([1, 2, 1.5, math.inf, 1.1])) if level in sent else 1
        for level in LEVELS
    ]

    def each(values):
        return [draw(values) if level in sent else "-" for level in LEVELS]

    bits = each(st.sampled_from(["-", "1", "4", "8"]))
    ranges = ["-" if b == "-" else draw(st.sampled_from(RANGES)) for b in bits]
    weights = st.floats(allow_nan=False, allow_infinity=False, width=32)
    how = draw(st.sampled_from(["nearest", "finer", "coarser", "fit", "mix"]))
    if how == "mix":
        how = f"mix:{draw(weights)!r},{draw(weights)!r}"
    return parse_setting(
        [ratio_to_json(ratio) for ratio in ratios],
        sorted(sent),
        [how],
        each(st.sampled_from(["-", "1", "32"])),
        bits,
        None if set(ranges) == {"-"} else ranges,
        rank_of=lambda level, number: int(number),
    )


@given(treatments())
def test_words_of_a_setting_make_that_setting(wanted):
    assert parse_line(treatment_words(wanted)) == wanted


@pytest.mark.parametrize(
    "line, named",
    [
        ("--send", "--send"),
        ("--send p7", "p7"),
        ("--send p3 p3", "p3.*once"),
        ("--send p3 --cr 2 1 1 1 1", "p2"),
        ("--restore origin --send p2 p5", "origin"),
        ("--send p3 --restore p3=finer", "p3 is sent"),
        ("--send p3 --restore p9=finer", "p9"),
        ("--restore p2=finer", "p2 is sent"),
        ("--send p3 --restore p2=finer", "finer"),
        ("--send p3 --restore sideways", "sideways"),
        ("--send p3 --restore nearest fit", "more than"),
        ("--send p3 p5 --restore p4=mix:1", "weights"),
        ("--send p3 p5 --restore mix:a,b", "weights"),
        ("--send p3 p5 --restore mix:nan,1", "weights"),
        ("--send p3 p5 --restore p6=fit", "p6"),
        ("--send p3 p5 --restore p4=finer:2", "p4=finer:2"),
        ("--restore fit:2", "fit:2"),
        ("--bits 0", "'0'"),
        ("--bits 9", "'9'"),
        ("--bits 4.0", "4.0"),
        ("--bits ½", "½"),
        ("--bits 4 4", "2 words"),
        ("--send p3 --bits 4 4 - - -", "p2"),
        ("--bits", "--bits"),
        ("--range level", "--bits"),
        ("--bits 4 --range some", "some"),
        ("--bits 4 - - - - --range level level - - -", "p3"),
        ("--rank 0", "'0'"),
        ("--rank 1.5", "1.5"),
        ("--rank nan", "nan"),
        ("--rank half", "half"),
    ],
)
def test_words_that_make_no_setting_are_refused(line, named):
    with pytest.raises(InputError, match=named) as refusal:
        parse_line(line)
    assert "\n" not in str(refusal.value)


def test_a_rank_needs_fitted_directions():
    with pytest.raises(InputError, match="--fitted"):
        parse_setting(rank=["4"])
