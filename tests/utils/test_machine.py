import os

import pytest

from detectron2_patch.utils.machine import scheduling_kept, usable_cores


def test_cores_where_the_system_tells_no_affinity(monkeypatch):
    """As on macOS."""
    assert 1 <= usable_cores() <= os.cpu_count()
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert usable_cores() == os.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="no scheduling policies here")
def test_a_changed_policy_is_given_back():
    before = os.sched_getscheduler(0)
    assert before != os.SCHED_BATCH
    with scheduling_kept():
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # anyone may
        assert os.sched_getscheduler(0) == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == before
