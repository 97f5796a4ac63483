"""Work on several items at a time."""

import threading

import pytest

from detectron2_patch.utils.overlap import overlapped


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_in_the_order_of_the_items(threads):
    waits = [0.02, 0, 0.01, 0, 0]

    def work(number):
        threading.Event().wait(waits[number])
        return number

    assert list(overlapped(work, range(5), threads)) == list(range(5))


def test_two_are_under_way_at_a_time():
    both = threading.Barrier(2, timeout=10)
    assert list(overlapped(lambda _: both.wait() >= 0, range(4), 2)) == [True] * 4


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_comes_at_its_items_turn(threads):
    def work(number):
        return 1 / (2 - number)

    found = overlapped(work, range(5), threads)
    assert [next(found), next(found)] == [0.5, 1]
    with pytest.raises(ZeroDivisionError):
        next(found)
