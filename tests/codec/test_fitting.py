"""What is fitted, beside what numpy's least squares and principal components give."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from detectron2_patch.codec.fitted import KIND, Fitted, read_fitted, write_fitted
from detectron2_patch.codec.fitting import fit
from detectron2_patch.codec.restore import linear, regressors
from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import LEVELS

SIZES = {"p2": (16, 24), "p3": (8, 12), "p4": (4, 6), "p5": (2, 3), "p6": (1, 2)}
CHANNELS = 3


def random_pyramids(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        {
            level: torch.randn(1, CHANNELS, *size, generator=generator) + 2
            for level, size in SIZES.items()
        }
        for _ in range(count)
    ]


def make_fitted(arrays):
    return Fitted({"kind": KIND, "weights": "w", "config": "c", "images": []}, arrays)


@pytest.fixture(scope="module")
def pyramids():
    return random_pyramids(20)


@pytest.fixture(scope="module")
def fitted(pyramids):
    return make_fitted(fit(pyramids))


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize(
    "level, sources", [("p2", ["p3", "p5"]), ("p4", ["p2"]), ("p3", ["p2", "p4", "p5", "p6"])]
)
def test_a_restorer_is_the_least_squares_one(pyramids, level, sources, kernel):
    x = torch.cat([regressors([p[s] for s in sources], SIZES[level]) for p in pyramids])
    border = (kernel // 2,) * 4
    x = F.unfold(F.pad(x, border, mode="replicate"), kernel)  # (N, S C k k, h w)
    y = torch.cat([p[level] for p in pyramids])
    rows = x.movedim(1, -1).flatten(0, -2).double().numpy()
    rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    target = y.movedim(1, -1).flatten(0, -2).double().numpy()
    wanted, *_ = np.linalg.lstsq(rows, target, rcond=None)
    parts = make_fitted(fit(pyramids, kernel)).restorer(level, sources, torch.device("cpu"))
    restored = linear([torch.cat([p[s] for p in pyramids]) for s in sources], *parts, SIZES[level])
    found = restored.movedim(1, -1).flatten(0, -2).numpy()
    # The ridge moves what is hardly determined (a stretched map is smooth), not what counts.
    error, least = ((found - target) ** 2).mean(), ((rows @ wanted - target) ** 2).mean()
    assert least * 0.9999 < error < least * 1.03
    if kernel == 1:
        np.testing.assert_allclose(found, rows @ wanted, atol=1e-3)


def test_restorers_for_the_levels_that_are_sent_alone(pyramids):
    """The same numbers as among those for every subset."""
    everything, some = fit(pyramids), fit(pyramids, sends=[("p3", "p5")])
    assert [name for name in some if name.startswith("fit_")] == ["fit_p2_p3_p5", "fit_p4_p3_p5"]
    for name, array in some.items():
        np.testing.assert_allclose(array, everything[name], atol=1e-3)
    with pytest.raises(InputError, match="p2 from p3.*--send"):
        make_fitted(some).restorer("p2", ["p3"], torch.device("cpu"))


def test_a_level_that_is_a_linear_map_of_another_is_restored():
    pyramids = random_pyramids(10, seed=1)
    matrix = torch.randn(CHANNELS, CHANNELS)
    for pyramid in pyramids:
        pyramid["p2"] = (
            torch.einsum("dc,nchw->ndhw", matrix, regressors([pyramid["p3"]], SIZES["p2"])) + 1
        )
    fitted = make_fitted(fit(pyramids[:9]))
    parts = fitted.restorer("p2", ["p3"], torch.device("cpu"))
    restored = linear([pyramids[9]["p3"]], *parts, SIZES["p2"])
    torch.testing.assert_close(restored, pyramids[9]["p2"], atol=1e-3, rtol=1e-3)


def test_directions_are_principal_ones(pyramids, fitted):
    rows = torch.cat([p["p2"].movedim(1, -1).flatten(0, -2) for p in pyramids]).double().numpy()
    variance = np.linalg.eigvalsh(np.cov(rows.T, bias=True))[::-1]
    basis, mean = fitted.basis("p2", CHANNELS, torch.device("cpu"))
    np.testing.assert_allclose(basis @ basis.T, np.eye(CHANNELS), atol=1e-5)
    projected = (rows - mean.flatten().numpy()) @ basis.numpy().T
    np.testing.assert_allclose(projected.var(axis=0), variance, rtol=1e-4)
    np.testing.assert_allclose(fitted.arrays["variance_p2"], variance, rtol=1e-4)


def test_a_rank_is_a_number_or_a_share_of_the_variance():
    arrays = {"variance_p2": np.array([6, 3, 1, 0], dtype=np.float32)}
    fitted = make_fitted(arrays)
    assert [fitted.rank_of("p2", share) for share in (0.5, 0.6, 0.61, 0.9, 0.95, 1, 4)] == [
        1,
        1,
        2,
        2,
        3,
        1,
        4,
    ]
    with pytest.raises(InputError, match="rank 5.*p2.*4"):
        fitted.rank_of("p2", 5)


@pytest.mark.parametrize("bits", range(1, 9))
def test_a_fitted_range_is_the_best_for_a_laplace_distribution(bits):
    """No other reach gives a smaller error on a sample."""
    rng = np.random.default_rng(bits)
    values = rng.laplace(scale=np.sqrt(0.5), size=200_000)  # variance 1
    fitted = make_fitted({"mean_p2": np.zeros(1, np.float32), "spread_p2": np.ones(1, np.float32)})
    low, high = fitted.range("p2", 0, bits, False)[:, 0]
    assert low == -high

    def error(reach):
        step = 2 * reach / (2**bits - 1)
        index = np.clip(np.round((values + reach) / step), 0, 2**bits - 1)
        return ((index * step - reach - values) ** 2).mean()

    assert error(high) < min(error(0.9 * high), error(1.1 * high))


def test_ranges_have_one_value_or_one_a_channel(fitted):
    assert fitted.range("p2", 0, 4, True).shape == (2, CHANNELS)
    assert fitted.range("p2", 0, 4, False).shape == (2, 1)
    assert fitted.range("p2", 2, 4, True).shape == (2, 2)
    assert fitted.range("p2", 2, 4, False).shape == (2, 1)


def test_a_file_comes_back_and_a_second_is_equal(tmp_path, fitted):
    write_fitted(fitted, tmp_path / "one.npz")
    write_fitted(fitted, tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    found = read_fitted(tmp_path / "one.npz")
    assert found.meta == fitted.meta and found.arrays.keys() == fitted.arrays.keys()
    assert all(np.array_equal(found.arrays[n], fitted.arrays[n]) for n in fitted.arrays)
    assert len(found.sha256) == 64


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"[1, 2]"])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "f.npz").write_bytes(content)
    with pytest.raises(InputError, match="f.npz.*tools/fit.py"):
        read_fitted(tmp_path / "f.npz")
    np.savez(tmp_path / "g.npz", meta=np.zeros(3))
    for name in ("g.npz", "nowhere.npz"):
        with pytest.raises(InputError, match=name):
            read_fitted(tmp_path / name)


def test_another_detector_and_evaluated_images_are_refused(tmp_path):
    fitted = make_fitted({})
    fitted.check_detector("w", "c")
    with pytest.raises(InputError, match="another detector"):
        fitted.check_detector("x" * 64, "c")
    with pytest.raises(InputError, match="configuration"):
        fitted.check_detector("w", "d")
    from detectron2_patch.codec.provenance import image_key

    (tmp_path / "seen.png").write_bytes(b"pixels")
    (tmp_path / "new.png").write_bytes(b"others")
    fitted.meta["images"].append(image_key(tmp_path / "seen.png"))
    fitted.check_images([tmp_path / "new.png"])
    with pytest.raises(InputError, match="seen.png"):
        fitted.check_images([tmp_path / "new.png", tmp_path / "seen.png"])


def test_every_subset_has_a_restorer(fitted):
    names = [name for name in fitted.arrays if name.startswith("fit_")]
    assert len(names) == 4 * 15
    assert {f"basis_{level}" for level in LEVELS} < set(fitted.arrays)
