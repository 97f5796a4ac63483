from types import SimpleNamespace

import numpy as np

from detectron2_patch.sweep.task import make_batches, make_chunks


def test_batches_hold_images_that_are_padded_alike():
    inputs = [SimpleNamespace(tensor=np.zeros((3, side, 64))) for side in (33, 64, 50, 65, 70, 40)]
    sizes = [[one.tensor.shape[1] for one in batch] for batch in make_batches(inputs, 2, 32)]
    assert sizes == [[33, 64], [50], [65, 70], [40]]
    assert [len(batch) for batch in make_batches(inputs, 1, 32)] == [1] * 6


def test_chunks_bring_alike_sizes_together_for_batches():
    images = [{"id": i, "width": 10 + i % 2, "height": 10} for i in range(40)]
    dataset = SimpleNamespace(images=images)
    assert [one["id"] for chunk in make_chunks(dataset, 1) for one in chunk] == list(range(40))
    assert [len(chunk) for chunk in make_chunks(dataset, 1)] == [16, 16, 8]
    grouped = [one["width"] for chunk in make_chunks(dataset, 4) for one in chunk]
    assert grouped == [10] * 20 + [11] * 20
    assert len(make_chunks(dataset, 30)[0]) == 30
