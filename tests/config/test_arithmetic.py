"""Sums in configurations: worked out, never run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectron2_patch.config import load_cfg
from detectron2_patch.config.arithmetic import arithmetic
from detectron2_patch.errors import InputError

ANCHORS = "[[x, x * 2**(1.0/3), x * 2**(2.0/3) ] for x in [32, 64, 128, 256, 512 ]]"


def test_the_anchors_of_retinanet():
    assert arithmetic(ANCHORS) == [
        [x, x * 2 ** (1.0 / 3), x * 2 ** (2.0 / 3)] for x in (32, 64, 128, 256, 512)
    ]


@given(
    st.recursive(
        st.integers(0, 99).map(str),
        lambda s: st.tuples(s, st.sampled_from("+-*"), s).map("({0[0]} {0[1]} {0[2]})".format),
        max_leaves=4,
    )
)
def test_sums_are_pythons(text):
    wanted = eval(text)
    if abs(wanted) <= 1e6:
        assert arithmetic(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "x",
        "2**99999",
        "[].append",
        "1 if 1 else 2",
        "f(1)",
        "'a' * 9",
        "[1 for x in 3]",
        "1 / 0",
        "9" * 2000,
    ],
)
def test_nothing_else_is(text):
    with pytest.raises((ValueError, SyntaxError, TypeError, ArithmeticError)):
        arithmetic(text)


def test_in_a_file(tmp_path):
    file = tmp_path / "mine.yaml"
    line = 'MODEL:\n  ANCHOR_GENERATOR:\n    SIZES: !!python/object/apply:eval ["{}"]\n'
    file.write_text(line.format(ANCHORS))
    assert load_cfg(file).MODEL.ANCHOR_GENERATOR.SIZES == arithmetic(ANCHORS)
    for bad in ("__import__('os').getcwd()", "open('x')"):
        file.write_text(line.format(bad))
        with pytest.raises(InputError, match="no arithmetic"):
            load_cfg(file)
