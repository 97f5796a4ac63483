import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_results import made

from detectron2_patch.analysis.delta import bjontegaard
from detectron2_patch.analysis.rate_distortion import (
    Curves,
    Family,
    Point,
    best_image,
    curves,
    front,
    rate_at,
    rate_at_loss,
)
from detectron2_patch.errors import InputError
from detectron2_patch.settings.setting import Setting

# The example of the package's README (libx265 with two presets), and what it prints.
RATE_ANCHOR, PSNR_ANCHOR = [9487.76, 4593.60, 2486.44, 1358.24], [40.037, 38.615, 36.845, 34.851]
RATE_TEST, PSNR_TEST = [9787.80, 4469.00, 2451.52, 1356.24], [40.121, 38.651, 36.970, 34.987]


def family(rates, values, name="avif", kind="image"):
    """``values``: (n,) or (n, 1 + B)."""
    rows = np.array(values, dtype=float).reshape(len(rates), -1)
    return Family(name, kind, tuple(Point(r, row, {}) for r, row in zip(rates, rows)))


def result(rate, ap, setting=None, replicates=None, wire=True, **more):
    """A result of this rate and AP; ``replicates``: AP of resamples."""
    one = made(1, 1, 1, 1, 1, **(setting or {}), **more)
    one["results"]["bbox"] = dict.fromkeys(("AP", "AP50", "APs", "APm", "APl"), ap)
    one["payload"] = {"wire": wire, "bits_per_pixel": rate}
    if replicates is not None:
        sizes = dict.fromkeys(("AP", "APs", "APm", "APl"), list(replicates))
        one["bootstrap"] = {"replicates": len(replicates), "seed": 0, "bbox": sizes}
    return one


def words(line):
    """The keys of a result's setting."""
    made = Setting.parse(line).to_json()
    return {key: value for key, value in made.items() if key != "scope"}


def avif(quality, **more):
    pytest.importorskip("PIL")
    fields = {"quality": quality, "chroma": "420", "scale": 1.0, **more}
    return {"image": {"codec": "avif", "version": 1, **fields}}


CLEAN = result(None, 70.0)


@pytest.mark.parametrize("method", ["pchip", "akima"])
def test_deltas_are_the_packages_own_on_its_published_example(method):
    package = pytest.importorskip("bjontegaard")
    delta = bjontegaard(family(RATE_ANCHOR, PSNR_ANCHOR), family(RATE_TEST, PSNR_TEST), method)
    published = RATE_ANCHOR, PSNR_ANCHOR, RATE_TEST, PSNR_TEST
    assert delta.rate == pytest.approx(package.bd_rate(*published, method=method), rel=1e-12)
    assert delta.metric == pytest.approx(package.bd_psnr(*published, method=method), rel=1e-12)
    assert delta.shared == (34.987, 40.037) and (delta.low, delta.resamples) == (None, 0)
    assert delta.overlap == pytest.approx((40.037 - 34.987) / (40.121 - 34.851))
    if method == "akima":
        assert (round(delta.rate, 4), round(delta.metric, 4)) == (-4.4252, 0.1194)


def test_twice_the_bits_are_plus_100_percent():
    pytest.importorskip("bjontegaard")
    anchor = family([0.1, 0.2, 0.5, 1], [50, 60, 68, 70])
    assert bjontegaard(anchor, family([0.2, 0.4, 1, 2], [50, 60, 68, 70])).rate == pytest.approx(
        100
    )
    assert bjontegaard(anchor, anchor).rate == pytest.approx(0, abs=1e-9)


def test_what_does_not_rise_is_left_out_of_the_front():
    pytest.importorskip("bjontegaard")
    rising = family([0.1, 0.2, 0.5, 1], [50, 60, 68, 70])
    bumpy = family([0.1, 0.15, 0.2, 0.5, 1, 2, 3], [50, 49, 60, 68, 70, 69.5, 70])
    assert bjontegaard(rising, bumpy).rate == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "values, says",
    [
        ([10, 20, 30], "avif lies between 50.00 and 70.00 and test between 10.00 and 30.00"),
        ([10, 30, 50], "don't overlap"),
        ([70, 71, 72], "don't overlap"),
        ([60, 60, 60], "the front of test has 1 point; two are needed"),
    ],
)
def test_curves_that_do_not_overlap_are_refused_with_the_reason(values, says):
    pytest.importorskip("bjontegaard")
    anchor = family([0.1, 0.2, 0.5], [50, 60, 70])
    with warnings.catch_warnings(), pytest.raises(InputError, match=says) as error:
        warnings.simplefilter("error")
        bjontegaard(anchor, family([0.1, 0.2, 0.5], values, "test"))
    assert "\n" not in str(error.value)


def test_a_little_overlap_is_told_and_not_warned_of():
    pytest.importorskip("bjontegaard")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        delta = bjontegaard(family([1, 2, 3], [50, 60, 70]), family([5, 6, 7], [69, 75, 90]))
    assert delta.overlap == pytest.approx(1 / 40) and delta.shared == (69, 70)
    assert delta.metric is None  # no rate is shared


def test_intervals_are_of_each_replicates_own_curves():
    package = pytest.importorskip("bjontegaard")
    shift = np.linspace(-2, 2, 41)  # of AP, the same images for both: what they share cancels
    ours, theirs = np.array([50, 60, 70.0]), np.array([52, 63, 71.0])
    with_replicates = [
        np.column_stack([one, one[:, None] + shift * weight])
        for one, weight in ((ours, 1), (theirs, 1.5))
    ]
    rates = [0.1, 0.3, 1.0]
    delta = bjontegaard(*(family(rates, one) for one in with_replicates))
    each = [
        package.bd_rate(rates, ours + s, rates, theirs + 1.5 * s, method="pchip") for s in shift
    ]
    assert delta.resamples == 41
    np.testing.assert_allclose((delta.low, delta.high), np.percentile(each, (2.5, 97.5)))
    assert delta.low < delta.rate < delta.high


def test_replicates_without_overlap_are_left_out_and_counted():
    pytest.importorskip("bjontegaard")
    anchor = family([1, 2], [[50, 50, 50], [60, 60, 60]])
    test = family([1, 2], [[55, 55, 65], [65, 65, 75]])
    assert bjontegaard(anchor, test).resamples == 1


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "bjontegaard", None)
    with pytest.raises(InputError, match=r"pip install 'detectron2-patch\[codecs\]'"):
        bjontegaard(family([1, 2], [1, 2]), family([1, 2], [1, 2]))


@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 100)), min_size=1, max_size=30))
def test_the_front_is_what_nothing_beats(points):
    rates, values = map(np.array, zip(*points))
    kept = list(zip(*front(rates, values)))
    assert (np.diff(kept, axis=0) > 0).all()
    for rate, value in points:
        assert any(r <= rate and v >= value for r, v in kept)
        assert ((rate, value) in kept) == (
            not any((r <= rate and v > value) or (r < rate and v >= value) for r, v in points)
        )


def test_the_rate_between_two_points_is_logarithmic():
    rates, values = np.array([0.1, 1.0]), np.array([60.0, 70.0])
    assert rate_at(rates, values, 65) == (pytest.approx(10**-0.5), False)
    assert rate_at(rates, values, 70) == (pytest.approx(1), False)
    assert rate_at(rates, values, 60) == (pytest.approx(0.1), False)
    assert rate_at(rates, values, 50) == (0.1, True)
    assert rate_at(rates, values, 71) == (np.inf, False)


def test_rates_at_a_loss_with_their_intervals():
    values = [[60, 60, 59, 61], [70, 70, 68, 72]]
    clean = np.array([70.0, 70, 70, 70])
    rate = rate_at_loss(family([0.1, 1], values), clean, 5)
    assert rate.value == pytest.approx(10 ** (-1 + 6.5 / 10)) and not rate.at_most
    assert rate.low < rate.value < rate.high
    rate = rate_at_loss(family([0.1, 1], values), clean, 0.5)
    assert rate.value and rate.high is None  # one replicate doesn't get there
    assert rate_at_loss(family([0.1, 1], [60, 65]), clean[:1], 1).value is None
    rate = rate_at_loss(family([0.1, 1], [69, 70]), clean[:1], 5)
    assert (rate.value, rate.at_most, rate.low) == (0.1, True, None)


def test_the_best_image_codec_is_the_anchor():
    one = family([0.1, 1], [60, 70], "jpeg")
    two = family([0.05, 0.5], [60, 70], "avif")
    three = family([0.01, 0.02], [65, 66], "frames", "pyramid")
    families = {f.name: f for f in (one, two, three)}
    assert best_image(Curves("AP", np.array([70.0]), families)).name == "avif"
    assert best_image(Curves("AP", np.array([90.0]), families)).name in ("avif", "jpeg")
    with pytest.raises(InputError, match="no results of image codecs"):
        best_image(Curves("AP", np.array([70.0]), {"frames": three}))


def test_results_become_families():
    found = curves(
        [
            CLEAN,
            result(0.4, 69, avif(50)),
            result(0.7, 70, avif(65)),
            result(0.2, 66, avif(50, scale=0.5)),
            result(9, 50, words("--frames hevc:30")),
            result(3, 68, words("--bits 4 - - - -")),
            result(2, 67, {**words("--bits 4 - - - -"), "rank": {"p2": 8}}),
            result(1, 60, words("--send p3 --restore fit --bits 4")),
            result(5, 40, words("--send p3")),
            result(None, 69.9, words("--bits 8"), wire=False),
        ]
    )
    kinds = {name: (one.kind, len(one.points)) for name, one in found.families.items()}
    assert kinds == {
        "avif": ("image", 2),
        "avif@0.5": ("image", 1),
        "frames": ("pyramid", 1),
        "levels": ("levels", 4),
        "levels/bits": ("levels", 1),
        "levels/rank": ("levels", 1),
        "levels/fitted": ("levels", 1),
        "levels/sent": ("levels", 1),
    }
    assert found["avif"].rates.tolist() == [0.4, 0.7] and found.clean.tolist() == [70]
    with pytest.raises(InputError, match="no results of 'jpeg'; choose one of avif, "):
        found["jpeg"]


def test_a_setting_counts_once_and_with_replicates_first():
    clean = result(None, 70.0, replicates=[69, 71])
    twice = [result(0.4, 69, avif(50)), result(0.4, 69, avif(50), replicates=[68, 70])]
    assert curves([clean, *twice])["avif"].values.tolist() == [[69, 68, 70]]
    assert curves([clean, *twice], "AP50")["avif"].values.tolist() == [[69]]


@pytest.mark.parametrize(
    "results, says",
    [
        ([result(1, 60, avif(50))], "no result of the clean pyramid"),
        ([CLEAN, result(1, 60, avif(50), weights="b" * 64)], "results of 2 models"),
    ],
)
def test_results_that_make_no_curves_are_refused(results, says):
    with pytest.raises(InputError, match=says):
        curves(results)
