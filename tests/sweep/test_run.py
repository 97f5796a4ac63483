"""Whole sweeps: what is written, what is skipped, what survives."""

import json
from functools import partial

import pytest

from detectron2_patch import pipeline
from detectron2_patch.errors import InputError
from detectron2_patch.results.file import load_results
from detectron2_patch.settings.grids import (
    Reduction,
    grid,
    one_at_a_time,
    parse_list,
    with_scopes,
)
from detectron2_patch.settings.setting import Setting
from detectron2_patch.sweep import estimate, task
from detectron2_patch.sweep import run as sweeping
from detectron2_patch.sweep.onepass import OnePass
from detectron2_patch.sweep.pending import locked
from detectron2_patch.sweep.plan import make_plan

SETTINGS = with_scopes(one_at_a_time([Reduction(4.0)]), ["rpn", "pyramid"])


@pytest.fixture
def make(make_sweep):
    """Makes a sweep of ``SETTINGS``."""
    return partial(make_sweep, settings=SETTINGS)


def stable(folder):
    """What has to be the same in every run: all but arguments, seconds and provenance."""
    return {
        file.name: {k: v for k, v in json.loads(file.read_text()).items() if k != "seconds"}
        for file in sorted(folder.glob("*.json"))
    }


def test_more_maps_than_memory_are_refused_before_the_pass(make, monkeypatch):
    sweep = make()
    monkeypatch.setattr(estimate, "_free_memory", lambda: 100.0)
    with pytest.raises(InputError, match="memory.*fewer settings"):
        sweeping.run(sweep)
    assert not list(sweep.folder.glob("*.json"))


def test_the_memory_of_a_plan_counts_each_map_once(make, engine, monkeypatch):
    """P3 is sent at 2 and P2, P4 are made of it: the box head reads all three, and P3 is kept as a
    source, too; of P6 the RPN's list alone is kept."""
    (one,) = parse_list(["--cr 1 2 1 1 1 --send p3 p5 --restore origin"])
    sweep = make(settings=with_scopes([one], ["pyramid"]), batch_size=3)
    one_pass = OnePass(engine, make_plan(sweep.settings))
    loaded = engine.read(sweep.dataset.image_path(sweep.dataset.images[0]))
    elements = {k: v.numel() for k, v in engine.pyramid(engine.batch([loaded])).items()}
    clean = sum(elements.values())
    needed = 3 * 4 * (clean + elements["p2"] + elements["p3"] + elements["p4"])
    monkeypatch.setattr(estimate, "_free_memory", lambda: needed)
    estimate._check_memory(sweep, one_pass, loaded)
    monkeypatch.setattr(estimate, "_free_memory", lambda: needed - 1)
    with pytest.raises(InputError, match="8 treatments .*smaller --batch-size"):
        estimate._check_memory(sweep, one_pass, loaded)


def test_equals_an_evaluation_a_setting(make, engine, scenes):
    sweep = make()
    done = sweeping.run(sweep)
    assert (done.written, done.skipped) == (12, 0)
    assert not list(sweep.folder.glob(".sweep-*")), "a finished sweep leaves no spool"
    results = {Setting.from_json(r["setting"]): r for r in load_results(sweep.folder)}
    assert len(results) == 12
    for setting in SETTINGS[::2]:
        wanted = pipeline.evaluate(engine, scenes, setting)
        found = results[setting]
        assert found["payload"] == wanted.payload
        assert found["results"]["bbox"] == wanted.results["bbox"]


def test_what_is_there_is_skipped(make):
    first = make(settings=SETTINGS[:3])
    sweeping.run(first)
    before = stable(first.folder)
    done = sweeping.run(make())
    assert (done.written, done.skipped) == (9, 3)
    after = stable(first.folder)
    assert {name: after[name] for name in before} == before
    assert sweeping.run(make()).written == 0
    assert sweeping.run(make(overwrite=True)).written == 12


def test_results_of_other_versions_are_named(make):
    sweeping.run(make(settings=SETTINGS[:2]))
    newer = {"torch": "2", "device": "cpu"}
    with pytest.raises(InputError, match=r"2 results .* torch 1 \(here 2\)"):
        sweeping.run(make(versions=newer))
    assert sweeping.run(make(versions=newer, overwrite=True)).written == 12
    elsewhere = {"torch": "2", "device": "cuda", "platform": "other"}
    assert sweeping.run(make(versions=elsewhere)).written == 0


def test_a_folder_in_use_is_refused(make):
    sweep = make()
    with locked(sweep.folder):
        with pytest.raises(InputError, match="in use"):
            sweeping.run(sweep)
    assert list(sweep.folder.glob("*.json")) == []


@pytest.mark.parametrize("moment", range(8))
def test_goes_on_where_it_was_stopped(make, monkeypatch, moment):
    """Stopped at its n-th write, of a chunk or a result; then run again to the end."""
    monkeypatch.setattr(task, "CHUNK", 2)  # three chunks
    whole = make(folder=make().folder / "whole")
    sweeping.run(whole)
    writes = []

    def stop(write):
        def guarded(*args):
            if len(writes) == moment:
                raise KeyboardInterrupt
            writes.append(args)
            return write(*args)

        return guarded

    broken = make(folder=make().folder / "broken")
    with monkeypatch.context() as patched:
        patched.setattr(sweeping.Spool, "write", stop(sweeping.Spool.write))
        patched.setattr(sweeping, "write_result", stop(sweeping.write_result))
        with pytest.raises(KeyboardInterrupt):
            sweeping.run(broken)
    written = len(list(broken.folder.glob("*.json")))
    read = []
    original = type(broken.engine).read
    monkeypatch.setattr(
        type(broken.engine),
        "read",
        lambda engine, path: read.append(path) or original(engine, path),
    )
    done = sweeping.run(broken)
    assert (done.written, done.skipped) == (12 - written, written)
    chunks = min(moment, 3)
    assert len(read) == max(0, 5 - 2 * chunks), "only the chunks that are missing are repeated"
    assert stable(broken.folder) == stable(whole.folder)
    assert not list(broken.folder.glob(".sweep-*"))


def test_a_full_disk_leaves_what_is_finished(make, monkeypatch):
    monkeypatch.setattr(task, "CHUNK", 2)
    sweep = make()

    def full(spool, chunk, *rest):
        if chunk == 1:
            raise InputError("cannot write: No space left on device")
        return write(spool, chunk, *rest)

    write = sweeping.Spool.write
    with monkeypatch.context() as patched:
        patched.setattr(sweeping.Spool, "write", full)
        with pytest.raises(InputError, match="No space left.*same command goes on"):
            sweeping.run(sweep)
    assert len(list(sweep.folder.glob(".sweep-*/chunk-*"))) == 1
    assert sweeping.run(sweep).written == 12


def test_too_little_disk_is_told_before_the_start(make, monkeypatch):
    sweep = make()
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda _: type("", (), {"free": 1000}))
    with pytest.raises(InputError, match="free"):
        sweeping.run(sweep)
    assert not list(sweep.folder.glob(".sweep-*")) and not list(sweep.folder.glob("*.json"))


def test_another_sweep_into_the_same_folder_shares_its_results(make):
    sweeping.run(make())
    wider = with_scopes(grid({"p2": (1.0, 4.0), "p6": (1.0, 4.0)}), ["rpn"])
    assert (sweeping.run(make(settings=wider)).written) == 1  # both at 4: the others were there


def test_what_does_not_factorise_runs_one_by_one(make, monkeypatch, caplog):
    whole = make(settings=SETTINGS[:3], folder=make().folder / "whole")
    sweeping.run(whole)
    single = make(settings=SETTINGS[:3], folder=make().folder / "single")
    monkeypatch.setattr(type(single.engine), "factorises", lambda _: "a cascade moves boxes")
    assert sweeping.run(single).written == 3
    assert "a cascade moves boxes: settings can't share work" in caplog.text
    found, wanted = stable(single.folder), stable(whole.folder)
    assert found.keys() == wanted.keys()
    for name, one in found.items():
        assert one["payload"] == wanted[name]["payload"]
        assert one["results"] == wanted[name]["results"]


def test_replicates_are_added_where_they_are_asked_for(make):
    """A result with fewer is missing, one with more will do, and nothing else changes."""
    sweeping.run(make(settings=SETTINGS[:3]))
    before = stable(make().folder)
    sweep = make(settings=SETTINGS[:4], replicates=20)
    assert sweeping.run(sweep).written == 4
    assert (done := sweeping.run(sweep)).written == 0 and done.skipped == 4
    assert sweeping.run(make(settings=SETTINGS[:4], replicates=10)).written == 0
    assert sweeping.run(make(settings=SETTINGS[:4])).written == 0, "not asked for, not in the way"
    after = stable(sweep.folder)
    for name, one in before.items():
        assert {k: v for k, v in after[name].items() if k != "bootstrap"} == one
    for one in load_results(sweep.folder):
        found = one["bootstrap"]
        assert (found["replicates"], found["seed"]) == (20, 0)
        assert list(found["bbox"]) == ["AP", "APs", "APm", "APl"]
        assert all(len(values) == 20 for values in found["bbox"].values())
        mean = sum(found["bbox"]["AP"]) / 20
        assert mean == pytest.approx(one["results"]["bbox"]["AP"], abs=15) and mean > 1
    assert sweeping.run(make(settings=SETTINGS[:4], replicates=30)).written == 4
    longer = {tuple(one["bootstrap"]["bbox"]["AP"][:20]) for one in load_results(sweep.folder)}
    assert longer == {tuple(one["bootstrap"]["bbox"]["AP"]) for one in after.values()}


def test_one_by_one_gives_the_same_replicates(make, monkeypatch):
    whole = make(settings=SETTINGS[:2], folder=make().folder / "whole", replicates=5)
    sweeping.run(whole)
    single = make(settings=SETTINGS[:2], folder=make().folder / "single", replicates=5)
    monkeypatch.setattr(type(single.engine), "factorises", lambda _: "a cascade moves boxes")
    assert sweeping.run(single).written == 2
    wanted = stable(whole.folder)
    for name, one in stable(single.folder).items():
        assert one["bootstrap"]["bbox"]["AP"] == pytest.approx(
            wanted[name]["bootstrap"]["bbox"]["AP"], abs=0.01
        )


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot write to .*--results-dir"):
        with locked(tmp_path / "file" / "below"):
            pytest.fail("it has no lock")
