import time

import pytest
import torch
from torch import nn

from detectron2_patch.analysis import complexity
from detectron2_patch.analysis.complexity import count_macs, measure, milliseconds, peak_memory


def test_macs_of_a_convolution_are_counted_by_hand():
    convolution = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    assert count_macs(lambda: convolution(torch.zeros(1, 3, 10, 20))) == 10 * 20 * 3 * 8 * 9


def test_macs_of_a_product_are_counted_in_inference_mode_too():
    a, b = torch.zeros(4, 5), torch.zeros(5, 6)

    @torch.inference_mode()
    def run():
        return a @ b

    assert count_macs(run) == 4 * 5 * 6
    assert count_macs(lambda: a + 1) == 0


def test_milliseconds_are_the_median():
    waits = iter([0.001, 0.3, 0.001])
    assert 1 <= milliseconds(lambda: time.sleep(next(waits)), 3) < 200


def test_peak_memory_is_what_a_run_holds_on_top():
    held = torch.ones(2**20)
    found = peak_memory(lambda: torch.ones(10 * 2**20).sum())
    if found is None:
        pytest.skip("this system doesn't tell a process's peak memory")
    assert 35 * 2**20 < found < 80 * 2**20  # 40 MiB and what else there is
    assert held.sum() == 2**20


def test_where_memory_is_not_told_it_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(complexity, "_STATUS", tmp_path / "none")
    assert peak_memory(lambda: None) is None


def test_measure_tells_all_of_one_image():
    weight = torch.zeros(100, 100)
    result, work = measure(lambda: (weight @ weight).shape, pixels=1000, repeats=2)
    assert result == (100, 100) and work.macs == 100**3 / 1000 and work.milliseconds > 0
