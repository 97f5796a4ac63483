"""Signals, streams and folders that a command may meet."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(tool, *arguments, **options):
    command = [sys.executable, str(ROOT / "tools" / f"{tool}.py"), *arguments]
    options = {"capture_output": True, "text": True, "cwd": ROOT, **options}
    return subprocess.run(command, timeout=120, check=False, **options)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("tool", ["train_net", "search"])
def test_a_terminal_that_cannot_show_a_word_escapes_it(tool, encoding):
    done = run(tool, "--help", env={**os.environ, "PYTHONIOENCODING": encoding})
    assert done.returncode == 0 and "\\u2026" in done.stdout and not done.stderr


def interrupting(number):
    def work():
        os.kill(os.getpid(), number)
        time.sleep(5)

    return work


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_is_one_line_and_its_status(load, name, capsys, tmp_path):
    from detectron2_patch.utils.files import atomic_write

    load("level_shares")
    import common

    number = getattr(signal, name)
    before = signal.getsignal(number)

    def work():
        with atomic_write(tmp_path / "half") as file:
            file.write(b"1")
            interrupting(number)()

    assert common.told(work) == 128 + number
    assert capsys.readouterr().err == f"interrupted by {name}; no file is half written\n"
    assert not list(tmp_path.iterdir()) and signal.getsignal(number) is before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device here")
def test_a_full_device_is_one_line(tmp_path):
    with open("/dev/full", "w") as full:
        data = [str(tmp_path / "boxes.json"), str(tmp_path)]
        (tmp_path / "a.png").write_bytes(b"")
        (tmp_path / "boxes.json").write_text(
            '{"images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],'
            '"categories": [{"id": 1, "name": "a"}], "annotations": [{"id": 1, "image_id": 1,'
            '"category_id": 1, "bbox": [1, 1, 9, 9]}]}'
        )
        options = {"stdout": full, "stderr": subprocess.PIPE, "capture_output": False}
        done = run("level_shares", "--data", *data, **options)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: cannot write the output: No space left")


def no_home(monkeypatch):
    def fail(*_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", fail)
    for name in ("DETECTRON2_PATCH_CACHE", "XDG_CACHE_HOME", "FVCORE_CACHE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("tool", ["train_net", "sweep", "train", "visualize"])
def test_no_home_is_needed_where_no_cache_is(call, monkeypatch, tool):
    no_home(monkeypatch)
    assert call(tool)[0] == 0


def test_a_cache_without_a_home_says_what_to_set(train_net, monkeypatch, capsys, tmp_path):
    no_home(monkeypatch)
    arguments = ["--engine", "torchvision", "--device", "cpu", "--results-dir", str(tmp_path)]
    assert train_net.main(arguments) == 2
    assert "set DETECTRON2_PATCH_CACHE" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("folder", ["", "a\0b", "a" * 300, "a/" + "b" * 300, "\ud800"])
@pytest.mark.parametrize("tool", ["train_net", "sweep"])
def test_a_results_folder_that_cannot_be_is_refused_before_the_work(
    load, command, tiny, capsys, tool, folder
):
    words = command(*(["--grid", "1"] if tool == "sweep" else []))
    words[words.index("--results-dir") + 1] = folder
    (tiny / "boxes.json").unlink()  # what would be found next
    assert load(tool).main(words) == 2
    assert "results" in capsys.readouterr().err.splitlines()[-1]


def test_a_rank_of_one_machine_is_refused(train_net, command, capsys):
    assert train_net.main(command("--machine-rank", "3")) == 2
    assert "--machine-rank 3 of --num-machines 1" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["SIGTERM"])
def test_a_signal_to_several_processes_is_one_line(tiny, command, name):
    arguments = command("--num-gpus", "2", "--grid", "1")
    tool = [sys.executable, str(ROOT / "tools" / "sweep.py"), *arguments]
    parent = subprocess.Popen(
        tool, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    if not children.exists():
        parent.kill()
        pytest.skip("no /proc here")
    while not children.read_text().split() and parent.poll() is None:
        time.sleep(0.05)
    parent.send_signal(getattr(signal, name))
    out, err = parent.communicate(timeout=100)
    assert parent.returncode == 128 + getattr(signal, name), err
    assert f"interrupted by {name}; what is finished is kept" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not list(tiny.glob("results/*.json"))
