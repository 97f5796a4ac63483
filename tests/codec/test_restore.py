import pytest
import torch
import torch.nn.functional as F

from detectron2_patch.codec.restore import linear, mix, regressors, resample, subsample


def test_p6_of_an_odd_p5_is_what_the_backbone_makes():
    p5 = torch.rand(2, 3, 25, 34)
    p6 = subsample(p5)
    assert p6.shape[-2:] == (13, 17)
    assert torch.equal(p6, F.max_pool2d(p5, kernel_size=1, stride=2))  # as LastLevelMaxPool


@pytest.mark.parametrize("size", [(1, 1), (13, 17), (50, 68)])
def test_shapes_whatever_the_sizes(size):
    finer, coarser = torch.rand(2, 3, 25, 34), torch.rand(2, 3, 7, 9)
    assert mix([finer, coarser], [0.5, 0.5], size).shape == (2, 3, *size)
    assert regressors([finer, coarser], size).shape == (2, 6, *size)
    for kernel in (1, 3):
        weight = torch.rand(3, 6, kernel, kernel)
        assert linear([finer, coarser], weight, torch.rand(3), size).shape == (2, 3, *size)


def test_a_mix_is_the_weighted_sum():
    x, y = torch.rand(1, 2, 8, 8), torch.rand(1, 2, 4, 4)
    wanted = 0.25 * F.interpolate(x, (6, 6), mode="bilinear") + 2 * F.interpolate(
        y, (6, 6), mode="bilinear"
    )
    torch.testing.assert_close(mix([x, y], [0.25, 2.0], (6, 6)), wanted)


def test_nothing_is_done_to_a_map_of_the_right_size():
    x = torch.rand(1, 2, 5, 7)
    assert resample(x, (5, 7)) is x


def test_finer_maps_are_averaged_over_areas():
    x = torch.rand(1, 1, 8, 8)
    assert torch.allclose(regressors([x], (1, 1)).flatten(), x.mean())
