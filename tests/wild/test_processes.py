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


TOOLS = sorted(p.stem for p in (ROOT / "tools").glob("*.py") if "def main(" in p.read_text())
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
LINES = {
    "cost": "results -o new.json",
    "export_weights": "w.pth -o new.pth",
    "fit": "-o new.npz",
    "key_levels": "results",
    "pack_results": "results -o new.json.gz",
    "rd": "results",
    "report": "results",
    "search": "results",
    "show_results": "results",
    "sweep": "--grid 1",
    "train_codec": "-o new",
}


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool not in ("send", "receive")])
def test_a_signal_in_every_tool(load, monkeypatch, capsys, tmp_path, tool, name):
    number = getattr(signal, name)
    module = load(tool)
    monkeypatch.setattr(module, "run", lambda args: interrupting(number)())
    monkeypatch.chdir(tmp_path)
    assert module.main(LINES.get(tool, "").split()) == 128 + number
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"interrupted by {name}; ") and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("tool", "name"), list(zip(TOOLS, SIGNALS * len(TOOLS))))
def test_a_signal_at_import_is_one_line(tmp_path, tool, name):
    if "import early" not in (ROOT / "tools" / f"{tool}.py").read_text():
        pytest.skip("another one's tool")
    (tmp_path / "argparse.py").write_text(
        f"import os, signal, time; os.kill(os.getpid(), signal.{name}); time.sleep(9)"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = run(tool, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 128 + getattr(signal, name)
    assert done.stderr == f"interrupted by {name}; no file is half written\n" and not done.stdout


@pytest.fixture
def small(tmp_path):
    """Data that ``level_shares`` prints a table of, and where."""
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "boxes.json").write_text(
        '{"images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],'
        '"categories": [{"id": 1, "name": "a"}], "annotations": [{"id": 1, "image_id": 1,'
        '"category_id": 1, "bbox": [1, 1, 9, 9]}]}'
    )
    return ["--data", str(tmp_path / "boxes.json"), str(tmp_path)]


def shell(tool, redirected, *arguments):
    """A command with its streams as a shell redirects them."""
    line = [sys.executable, str(ROOT / "tools" / f"{tool}.py"), *arguments]
    command = ["sh", "-c", f'"$@" {redirected}', "sh", *line]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device here")


@pytest.mark.parametrize(
    ("to", "reason"),
    [pytest.param(">/dev/full", "No space left", marks=full), (">&-", "Bad file descriptor")],
)
def test_a_stdout_that_takes_nothing_is_one_line(small, to, reason):
    done = shell("level_shares", to, *small)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: cannot write to stdout: {reason}")


@pytest.mark.parametrize("to", [pytest.param("2>/dev/full", marks=full), "2>&-"])
def test_a_stderr_that_takes_nothing_loses_nothing(small, to):
    done = shell("level_shares", to, *small)
    assert done.returncode == 0 and "small" in done.stdout
    assert shell("level_shares", to, "--data", "nowhere", "nowhere").returncode == 2


def test_a_file_never_takes_the_place_of_a_closed_stream(small, tmp_path):
    """With the numbers 0 to 2 closed, what libraries print would go into it."""
    done = shell("level_shares", "<&- >&- 2>&-", *small, "--json", str(tmp_path / "s.json"))
    assert done.returncode == 2 and (tmp_path / "s.json").read_text().startswith("{")


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        *((tool, ["--help"]) for tool in TOOLS),
        ("level_shares", None),
        ("show_results", ["results"]),
    ],
)
def test_a_reader_that_has_seen_enough_ends_it_quietly(small, tool, arguments):
    if "import early" not in (ROOT / "tools" / f"{tool}.py").read_text():
        pytest.skip("another one's tool")
    reading, writing = os.pipe()
    os.close(reading)
    options = {"stdout": writing, "stderr": subprocess.PIPE, "capture_output": False}
    if arguments == ["results"]:
        arguments = ["results/demo/methods.json.gz"]
    done = run(tool, *(small if arguments is None else arguments), **options)
    os.close(writing)
    assert done.returncode == 128 + signal.SIGPIPE and not done.stderr


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


@pytest.mark.parametrize(
    ("name", "all_of_them"), [("SIGTERM", False), ("SIGINT", True), ("SIGHUP", True)]
)
def test_a_signal_to_several_processes_is_one_line(tiny, command, name, all_of_them):
    """To the launcher alone, or as a terminal does it to all."""
    arguments = command("--num-gpus", "2", "--grid", "1")
    tool = [sys.executable, str(ROOT / "tools" / "sweep.py"), *arguments]
    parent = subprocess.Popen(
        tool,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    if not children.exists():
        parent.kill()
        pytest.skip("no /proc here")
    while parent.poll() is None and not all_are_under_way(children.read_text().split()):
        time.sleep(0.05)
    number = getattr(signal, name)
    (os.killpg if all_of_them else os.kill)(parent.pid, number)
    out, err = parent.communicate(timeout=100)
    assert parent.returncode == 128 + number, err
    assert f"interrupted by {name}; what is finished is kept" in err.splitlines()[-1]
    assert "Traceback" not in err and "cache" not in err
    assert not list(tiny.glob("results/*.json"))


def all_are_under_way(children):
    """Whether both processes catch signals: before that Python itself is starting."""
    caught = []
    for child in children:
        try:
            status = Path(f"/proc/{child}/status").read_text()
        except OSError:
            continue
        mask = next(line for line in status.splitlines() if line.startswith("SigCgt"))
        caught.append(int(mask.split()[1], 16) >> (signal.SIGHUP - 1) & 1)
    return sum(caught) == 2


def test_ctrl_c_does_not_wait_for_what_is_being_scored(tiny, command):
    """A group of settings with many resamples takes minutes."""
    arguments = command("--grid", "1", "2", "4", "--bootstrap", "50000")
    tool = [sys.executable, str(ROOT / "tools" / "sweep.py"), "-q", *arguments]
    parent = subprocess.Popen(tool, cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    if not children.exists():
        parent.kill()
        pytest.skip("no /proc here")
    while parent.poll() is None and not any(map(is_scoring, children.read_text().split())):
        time.sleep(0.05)
    os.killpg(parent.pid, signal.SIGINT)
    _, err = parent.communicate(timeout=60)
    assert parent.returncode == 128 + signal.SIGINT and len(err.splitlines()) == 1, err


def is_scoring(child):
    """Whether a process of the pool has come to its work: it has loaded the evaluator."""
    try:
        started = b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
        return started and "hotcoco" in Path(f"/proc/{child}/maps").read_text()
    except OSError:
        return False


def test_a_signal_while_processes_are_started_waits_for_that(load, capsys):
    load("level_shares")
    import common

    from detectron2_patch.utils import process

    done = []

    def work():
        with process.shielded():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            done.append("started")
        done.append("went on")

    assert common.told(work) == 128 + signal.SIGTERM and done == ["started"]
    assert len(capsys.readouterr().err.splitlines()) == 1
