import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time

import pytest

from detectron2_patch import load_results
from detectron2_patch.sweep.pending import locked

KILLS = int(os.environ.get("KILLS", "4"))  # more of them: KILLS=20 pytest tests/tools/test_sweep.py


def stable(folder):
    """Files by name, without what may differ: arguments, seconds, the results folder."""
    return {
        file.name: {
            k: v for k, v in json.loads(file.read_text()).items() if k not in ("args", "seconds")
        }
        for file in sorted(folder.glob("*.json"))
    }


def test_writes_what_the_single_command_writes(sweep, train_net, command, tiny):
    assert (
        sweep.main(
            command("--grid-p2", "1", "2", "--grid-p6", "1", "max", "--scope", "rpn", "pyramid")
        )
        == 0
    )
    swept = stable(tiny / "results")
    (tiny / "results").rename(tiny / "swept")
    for scope in ("rpn", "pyramid"):
        for ratios in ("1 1 1 1 1", "1 1 1 1 max", "2 1 1 1 1", "2 1 1 1 max"):
            assert train_net.main(command("--scope", scope, "--cr", *ratios.split())) == 0
    assert swept == stable(tiny / "results")
    assert len(swept) == 8


@pytest.mark.parametrize(
    "scopes, then", [(["rpn"], "show_results"), (["rpn", "pyramid"], "search")]
)
def test_ends_with_a_table_and_the_next_command(load, sweep, command, tiny, capsys, scopes, then):
    assert sweep.main(command("--one-at-a-time", "4", "--scope", *scopes)) == 0
    out, err = capsys.readouterr()
    head, _, *rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in out.splitlines()]
    assert head == ["dataset", "scope", "setting", "AP", "AP50", "AP75", "APs", "APm", "APl"]
    known = {
        (one["setting"]["scope"], " ".join(map(str, one["setting"]["cr"].values()))): one
        for one in load_results(tiny / "results")
    }
    assert len(rows) == len(known) == 6 * len(scopes)
    for _, scope, name, ap, *_ in rows:
        wanted = known[scope, name.removesuffix(" (clean)")]["results"]["bbox"]["AP"]
        assert ap == f"{wanted:.1f}"
    line = shlex.split(err.splitlines()[-1].removeprefix("next: "))
    assert line[:3] == ["python", f"tools/{then}.py", str(tiny / "results")]
    assert load(then).main(line[2:]) in (0, 2)  # search: where random weights find nothing


def test_settings_can_be_listed_before_the_overrides(sweep, capsys):
    arguments = [
        "--dry-run",
        "--one-at-a-time",
        "2",
        "max",
        "--scope",
        "pyramid",
        "--grid",
        "1",
        "4",
        "--grid-p2",
        "1",
        "SEED",
        "1",
    ]
    assert sweep.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(set(lines)) == 2**4 + 5 * 2
    assert "pyramid --cr 1 1 1 1 4" in lines and "pyramid --cr 1 1 max 1 1" in lines


@pytest.mark.parametrize(
    "arguments, named",
    [
        ([], "no settings"),
        (["--grid"], "--grid got no ratio"),
        (["--grid", "1", "0.5"], "'0.5'"),
        (["--grid-p4", "two"], "--grid-p4"),
        (["--pairs", "nan"], "'nan'"),
        (["--grid", "1", "--scope", "both"], "'both'"),
        (["--grid", "1", "--scope"], "--scope"),
        (["--cr-list", "nowhere.txt"], "nowhere.txt"),
        (["--grid", "1", "--batch-size", "0"], "--batch-size is 0"),
        (["--grid", "1", "--bootstrap", "0"], "--bootstrap is 0"),
    ],
)
def test_bad_settings_are_refused(sweep, command, tiny, capsys, arguments, named):
    assert sweep.main(command(*arguments)) == 2
    (line,) = (x for x in capsys.readouterr().err.splitlines() if x.startswith("error: "))
    assert named in line
    assert not (tiny / "results").exists()


def test_a_folder_in_use_is_refused(sweep, command, tiny, capsys):
    with locked(tiny / "results"):
        assert sweep.main(command("--grid", "1")) == 2
    assert "in use by another sweep" in capsys.readouterr().err


def test_kills_at_random_moments_change_nothing(command, tiny):
    """SIGKILL, again and again, then a run to the end: the files of an uninterrupted sweep."""
    line = [
        sys.executable,
        "tools/sweep.py",
        *command("--grid", "1", "2", "4", "--scope", "rpn", "pyramid"),
    ]
    start = time.perf_counter()
    subprocess.run(line, check=True, capture_output=True)
    whole_time = time.perf_counter() - start
    (tiny / "results").rename(tiny / "whole")
    generator = random.Random()
    for _ in range(KILLS):
        process = subprocess.Popen(line, stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(generator.uniform(0.3, 1) * whole_time)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for file in (tiny / "results").glob("*.json"):
            load_results(file)  # whole, whenever the kill came
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    assert "wrote" in done.stderr
    assert stable(tiny / "results") == stable(tiny / "whole")
    assert len(stable(tiny / "whole")) == 2 * 3**5
    assert not list((tiny / "results").glob(".sweep-*"))


def test_two_processes_write_the_files_of_one(sweep, command, tiny):
    document = json.loads((tiny / "boxes.json").read_text())
    image = document["images"][0]
    document["images"] += [{**image, "id": number} for number in range(10, 30)]  # two chunks
    (tiny / "boxes.json").write_text(json.dumps(document))
    arguments = command("--grid", "1", "4", "--scope", "rpn", "pyramid")
    assert sweep.main(arguments) == 0
    (tiny / "results").rename(tiny / "alone")
    done = subprocess.run(
        [sys.executable, "tools/sweep.py", "--num-gpus", "2", *arguments],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("wrote 64 results") == 1
    assert stable(tiny / "results") == stable(tiny / "alone")


def test_an_interrupt_says_how_to_go_on(sweep, command, tiny, capsys, monkeypatch):
    from detectron2_patch.sweep import run

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run, "_evaluate", interrupt)
        assert sweep.main(command("--grid", "1")) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert sweep.main(command("--grid", "1")) == 0


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["--subsets", "nearest", "--send", "p3"], "--subsets"),
        (["--subsets", "fit"], "--fitted"),
        (["--grid", "1", "--grid-range", "channel"], "--bits"),
        (["--grid", "1", "--bits"], "--bits"),
        (["--grid", "1", "--rank", "4"], "--fitted"),
        (["--combine", "LIST", "--restore", "p4=coarser"], "p4=coarser"),
        (["--combine", "LIST", "--restore", "origin"], "origin"),
    ],
)
def test_words_that_do_not_fit_the_list_are_refused(sweep, tmp_path, capsys, arguments, named):
    (tmp_path / "list.txt").write_text("1 1 1 1 1\n2 2 2 2 2\n")
    words = [str(tmp_path / "list.txt") if word == "LIST" else word for word in arguments]
    assert sweep.main([*words, "--dry-run"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and named in error


@pytest.mark.parametrize(
    "arguments, wanted",
    [
        (["--grid", "1", "--bits", "4"], "--cr 1 1 1 1 1 --bits 4 --range level"),
        (
            ["--one-at-a-time", "2", "--send", "p3", "p4", "--bits", "4"],
            "--cr 1 2 1 1 1 --send p3 p4 --restore p2=coarser p5=finer p6=subsample --bits 4",
        ),
        (["--cr-list", "LIST", "--bits", "4"], "--cr 2 2 2 2 2 --bits 4 --range level"),
        (["--cr-list", "LIST", "--bits", "4"], "--cr 1 1 1 1 1 --bits 2 --range level"),
        (
            ["--subsets", "nearest", "--bits", "4"],
            "--send p3 p5 --restore p2=coarser p4=finer p6=subsample --bits 4",
        ),
        (["--combine", "LIST"], "--cr 1 2 1 2 1"),
    ],
)
def test_what_all_settings_share_is_in_each(sweep, tmp_path, capsys, arguments, wanted):
    (tmp_path / "list.txt").write_text("1,1,1,1,1 --bits 2  # see --bits\n2 2 2 2 2\n")
    if arguments[0] == "--combine":
        (tmp_path / "list.txt").write_text("1 1 1 1 1\n2 2 2 2 2\n")
    words = [str(tmp_path / "list.txt") if word == "LIST" else word for word in arguments]
    assert sweep.main([*words, "--dry-run"]) == 0
    assert wanted in capsys.readouterr().out


def test_an_unknown_flag_does_not_swallow_the_line(sweep, capsys):
    assert sweep.main(["--grid", "1", "--cr", "1", "1", "1", "1", "4", "--dry-run"]) == 2
    assert "--cr is no flag" in capsys.readouterr().err
    assert sweep.main(["--grid", "1", "SEED", "1", "--dry-run"]) == 2
    assert "behind the overrides" in capsys.readouterr().err
