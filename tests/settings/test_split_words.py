"""Lists of words, whatever stands between them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectron2_patch.errors import InputError
from detectron2_patch.settings.setting import Setting
from detectron2_patch.settings.words import split_words

BETWEEN = st.sampled_from([" ", ",", ", ", " ,", " , "])
RATIOS = st.sampled_from(["1", "2", "1.5", "16", "max"])


@given(st.lists(RATIOS, min_size=5, max_size=5), st.lists(BETWEEN, min_size=4, max_size=4))
def test_spaces_and_commas_are_one(ratios, between):
    text = ratios[0] + "".join(space + one for space, one in zip(between, ratios[1:]))
    assert split_words("--cr", [text]) == split_words("--cr", text.split(" ")) == ratios
    assert Setting.parse(f"--cr={text}") == Setting.parse(f"--cr {' '.join(ratios)}")


@given(st.lists(st.sampled_from(["p2", "P3", "p4", "P5"]), min_size=1, unique=True), BETWEEN)
def test_levels_in_either_case(levels, between):
    assert split_words("--send", [between.join(levels)]) == [one.lower() for one in levels]


@given(st.text("18,. pPmax-", max_size=12))
def test_any_text_is_words_or_refused(text):
    try:
        words = split_words("--cr", [text])
    except InputError as error:
        assert "beside a comma" in str(error) and "\n" not in str(error)
    else:
        assert all(word and "," not in word and " " not in word for word in words)


@pytest.mark.parametrize("text", ["1,,1", ",1", "1,", ", 1", "1 ,", ","])
def test_nothing_beside_a_comma_is_refused(text):
    with pytest.raises(InputError, match="beside a comma"):
        split_words("--cr", [text])


def test_the_commas_of_weights_and_codecs_are_their_own():
    assert split_words("--restore", ["mix:0.5,0.5,fit"]) == ["mix:0.5,0.5", "fit"]
    assert split_words("--frames", ["hevc:30/p3,p5"]) == ["hevc:30/p3,p5"]
