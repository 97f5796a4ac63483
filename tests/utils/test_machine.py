import os

from detectron2_patch.utils.machine import usable_cores


def test_cores_where_the_system_tells_no_affinity(monkeypatch):
    """As on macOS."""
    assert 1 <= usable_cores() <= os.cpu_count()
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert usable_cores() == os.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1
