import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectron2_patch.utils.sampling import evenly


@given(st.integers(0, 500), st.integers(1, 500))
def test_as_many_as_asked_for_at_equal_steps(size, count):
    found = evenly(range(size), count)
    assert len(found) == min(size, count)
    steps = {b - a for a, b in zip(found, [*found[1:], size])}
    assert all(size // len(found) <= step <= -(-size // len(found)) for step in steps)


@pytest.mark.parametrize("size", [205, 399, 800])
def test_two_hundred_reach_the_end(size):
    found = evenly(range(size), 200)
    assert found[0] == 0 and found[-1] >= size - 1 - size // 200


def test_a_whole_number_of_steps_is_a_slice():
    """As the published fits were made: 200 of 800."""
    assert evenly(range(800), 200) == list(range(0, 800, 4))
