import numpy as np
import pytest

from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.intervals import drop_interval, samples


def result(ap, replicates=None, seed=0, digest="0", **sizes):
    bbox = {"AP": ap, **sizes}
    one = {"dataset": {"digest": digest}, "results": {"bbox": bbox}}
    if replicates is not None:
        one["bootstrap"] = {
            "replicates": len(replicates),
            "seed": seed,
            "bbox": {size: list(replicates) for size in bbox},
        }
    return one


def test_what_the_images_do_to_both_cancels():
    replicates = np.random.default_rng(0).normal(50, 5, 1000)
    clean, worse = result(50.0, replicates), result(47.0, replicates - 3)
    assert drop_interval(worse, clean, relative=False) == pytest.approx((3, 3, 3))
    value, low, high = drop_interval(worse, clean)
    assert value == pytest.approx(6) and 4.5 < low < 6 < high < 8


def test_the_ends_are_percentiles():
    clean, worse = result(100.0, [100.0] * 201), result(50.0, range(201))
    assert drop_interval(worse, clean) == pytest.approx((50, -95, 95))


def test_a_gain_is_negative():
    assert drop_interval(result(60.0), result(50.0), relative=False) == (-10, None, None)


@pytest.mark.parametrize(
    "one, other",
    [
        (result(45.0), result(50.0, [50.0, 49.0])),
        (result(45.0, [45.0, 44.0], seed=1), result(50.0, [50.0, 49.0])),
    ],
)
def test_without_pairs_there_is_no_interval(one, other):
    assert drop_interval(one, other) == pytest.approx((10, None, None))


def test_pairs_end_with_the_shorter_list():
    long, short = result(50.0, [50.0, 40.0, 0.0]), result(45.0, [45.0, 35.0])
    assert samples([long, short], "AP").tolist() == [[50, 50, 40], [45, 45, 35]]


def test_replicates_without_the_size_are_left_out():
    clean, worse = result(50.0, [50.0, None, 40.0]), result(40.0, [40.0, None, 30.0])
    assert drop_interval(worse, clean, relative=False) == pytest.approx((10, 10, 10))


@pytest.mark.parametrize("clean, relative", [(None, True), (None, False), (0.0, True)])
def test_what_cannot_be_told_is_none(clean, relative):
    assert drop_interval(
        result(0.0, APl=clean and 0.0), result(1.0, APl=clean), "APl", relative
    ) == (None, None, None)


def test_results_of_two_datasets_are_refused():
    with pytest.raises(InputError, match="two datasets, 1 and 0"):
        drop_interval(result(1.0, digest="1"), result(2.0))
