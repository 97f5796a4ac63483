"""``benchmarks/gpu.py``: every part on a CPU, and what becomes of a run that doesn't go well."""

import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

HAS_GPU = torch.cuda.is_available()
LINE = ["--device", "cpu", "--small"]
# Instead of the parts: each tells its name, writes one figure and comes to the end of a test.
STAND_IN = """
import sys
for line in iter(sys.stdin.readline, ""):
    name, path = line.rstrip("\\n").split("\\t")
    print(name, file=open({ran!r}, "a"))
    open(path, "w").write('{{"rows": [{{"a": 1}}], "checks": []}}')
    exec({endings!r}.get(name, ""))
    print("done", flush=True)
"""


@pytest.fixture(scope="module")
def finished(gpu, tmp_path_factory):
    """Every part on the CPU: the process, its record, the processor's seconds, and the file."""
    folder = tmp_path_factory.mktemp("gpu")
    path = folder / "figures.json"
    line = [sys.executable, str(BENCHMARKS / "gpu.py"), *LINE, "--out", str(path)]
    env = {**os.environ, "DETECTRON2_PATCH_CACHE": str(folder / "cache")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(line, capture_output=True, text=True, env=env)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert path.exists(), done.stderr
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done, json.loads(path.read_text()), seconds, path


def test_every_part_passes_in_time(gpu, finished):
    done, record, seconds, _ = finished
    told = done.stdout + done.stderr
    assert {name: part["status"] for name, part in record["parts"].items()} == dict.fromkeys(
        gpu.PARTS, "done"
    ), told
    checks = [check for part in record["parts"].values() for check in part["checks"]]
    assert [check for check in checks if not check["ok"]] == []
    assert done.returncode == 0
    assert seconds < 120  # of the processor: how busy the machine is doesn't count
    assert record["small"] and record["machine"]["versions"]["python"] == platform.python_version()
    for part in gpu.PARTS.values():
        assert part.title in done.stdout


def test_figures_make_sense(gpu, finished):
    rows = {name: part["rows"] for name, part in finished[1]["parts"].items()}
    assert [row["count"] for row in rows["images"]] == [3, 8, 3]
    assert all(row["AP"] > 30 for row in rows["demo"])
    assert {row["detector"] for row in rows["speed"]} == {"R_50_FPN", "X_101_32x8d_FPN"}
    assert all(row["forwards_a_second"] > 0 and row["peak_MiB"] > 0 for row in rows["speed"])
    for batch in (1, 4):
        passes = rows[f"onepass-{batch}"]
        assert [(row["scope"], row["settings"]) for row in passes] == [("rpn", 32), ("pyramid", 32)]
        assert all(row["batch"] == batch and row["x_floor"] >= 1 for row in passes)
    assert [(row["scope"], row["batch"]) for row in rows["gap"]] == [
        ("rpn", 1),
        ("pyramid", 1),
        ("rpn", 4),
        ("pyramid", 4),
    ]
    assert all(row["detections"] > 100 and row["AP_gap"] is not None for row in rows["gap"])
    assert all(row["not_bit_for_bit"] <= row["detections"] / 100 for row in rows["gap"][:2])
    assert [row["precision"] for row in rows["training"]] == ["mixed", "float32", "mixed", "mixed"]
    fitting, *codings = rows["coding"]
    assert fitting["seconds"] > 0 and all(row["times_fp32"] > 10 for row in codings)


def test_copies_of_maps_are_counted_in_each_way(finished):
    checks = finished[1]["parts"]["demo"]["checks"]
    copies = {c["what"]: c["found"] for c in checks if c["what"].startswith("copies of maps")}
    plain = [found for what, found in copies.items() if "bits" not in what]
    coded = [found for what, found in copies.items() if "bits" in what]
    assert plain == [0] * 4 and coded[0] > 0


def test_no_folder_of_the_machine_is_told(finished):
    text = finished[3].read_text()
    assert str(BENCHMARKS.parent) not in text and str(finished[3].parent) not in text


def test_a_finished_record_is_only_printed(gpu, finished, monkeypatch, capsys):
    monkeypatch.setattr(gpu.Worker, "run", lambda *_: pytest.fail("nothing is left to do"))
    threads = torch.get_num_threads()
    torch.set_num_threads(finished[1]["machine"]["threads"])
    try:
        assert gpu.main([*LINE, "--out", str(finished[3])]) == 0
    finally:
        torch.set_num_threads(threads)
    assert "The demo beside the CPU" in capsys.readouterr().out


@pytest.fixture
def stand_in(gpu, monkeypatch, tmp_path):
    """``stand_in(part=code)``: let the parts be ``STAND_IN``; gives what tells their names."""

    def make(**endings):
        ran = tmp_path / "ran"
        ran.write_text("")
        code = STAND_IN.format(ran=str(ran), endings=endings)
        monkeypatch.setattr(gpu, "command", lambda args: [sys.executable, "-S", "-c", code])
        return lambda: ran.read_text().split()

    return make


def test_a_part_that_fails_stops_no_other_and_is_run_again(gpu, stand_in, tmp_path, capsys):
    path = tmp_path / "figures.json"
    line = [*LINE, "--out", str(path)]
    ran = stand_in(demo="raise ValueError('no such map')")
    assert gpu.main(line) == 1
    assert ran() == list(gpu.PARTS)
    parts = json.loads(path.read_text())["parts"]
    assert {name for name, part in parts.items() if part["status"] == "failed"} == {"demo"}
    assert parts["demo"]["error"] == "ValueError: no such map"
    assert parts["demo"]["rows"] == parts["speed"]["rows"] == [{"a": 1}]
    assert "FAILED" in capsys.readouterr().out

    ran = stand_in()
    assert gpu.main(line) == 0
    assert ran() == ["demo"]
    assert gpu.main([*line, "--again", "--parts", "demo"]) == 1  # the others are missing now
    assert list(json.loads(path.read_text())["parts"]) == ["demo"]


def test_a_part_that_takes_too_long_is_stopped_with_what_it_started(
    gpu, stand_in, monkeypatch, tmp_path, capsys
):
    path = tmp_path / "figures.json"
    monkeypatch.setitem(gpu.PARTS, "speed", gpu.PARTS["speed"]._replace(limit=2.0))
    child = (
        "import subprocess, time;"
        f"child = subprocess.Popen(['sleep', '60']); open({str(tmp_path / 'pid')!r}, 'w')"
        ".write(str(child.pid)); time.sleep(60)"
    )
    stand_in(speed=child)
    assert gpu.main([*LINE, "--out", str(path)]) == 1
    parts = json.loads(path.read_text())["parts"]
    assert parts["speed"]["status"] == "cut off" and parts["speed"]["rows"] == [{"a": 1}]
    assert parts["onepass-1"]["status"] == "done"
    assert "CUT OFF" in capsys.readouterr().out
    assert not is_running(int((tmp_path / "pid").read_text()))


def is_running(pid):
    """Whether a process is there and no zombie, a moment after it was killed."""
    for _ in range(50):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return False
        except OSError:
            return False
        time.sleep(0.1)
    return True


def test_time_that_is_over_leaves_the_rest_for_later(gpu, stand_in, tmp_path, capsys):
    ran = stand_in()
    line = [*LINE, "--out", str(tmp_path / "figures.json")]
    assert gpu.main([*line, "--minutes", "0"]) == 1
    assert ran() == [] and "goes on" in capsys.readouterr().err
    assert gpu.main(line) == 0
    assert ran() == list(gpu.PARTS)


def test_a_record_of_another_machine_is_not_gone_on_with(gpu, stand_in, tmp_path, capsys):
    path = tmp_path / "figures.json"
    stand_in()
    line = [*LINE, "--out", str(path)]
    assert gpu.main(line) == 0
    record = json.loads(path.read_text())
    record["machine"]["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(record))
    capsys.readouterr()
    assert gpu.main(line) == 2
    assert re.fullmatch(r"error: .*another machine.*--again\n", capsys.readouterr().err)
    path.write_text("[]")
    assert gpu.main(line) == 2
    assert gpu.main([*line, "--again"]) == 0


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU here")
def test_without_a_gpu_it_says_so_in_one_line(gpu, tmp_path, capsys):
    assert gpu.main(["--out", str(tmp_path / "figures.json")]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and re.fullmatch(r"error: no GPU .*\n", captured.err)


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU here")
def test_the_script_for_a_bare_machine_calls_it():
    line = [str(BENCHMARKS / "gpu.sh"), "--device", "cuda"]
    done = subprocess.run(
        line, capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable}
    )
    assert done.returncode == 2 and done.stderr.startswith("error: no GPU"), done.stderr


def test_the_script_names_all_that_is_needed():
    setup = (BENCHMARKS.parent / "setup.py").read_text()
    wanted = re.search(r"install_requires=\[(.*?)\n    \]", setup, re.DOTALL).group(1)
    script = (BENCHMARKS / "gpu.sh").read_text()
    named = set(re.findall(r"\b\w+=(\w+)(?=[ \\)\n])", script))
    assert set(re.findall(r'"(\w+)[><=]', wanted)) <= named


class TestCopiesOfMaps:
    def test_crossings_count_what_leaves_a_device(self, gpu):
        from gpu_parts.watch import Crossings

        with Crossings("cpu", "meta") as crossings, torch.inference_mode():
            small, image, maps = torch.zeros(300, 4), torch.zeros(3, 9, 9), torch.zeros(1, 8, 5, 5)
            small.to("meta"), image.to("meta"), (maps + 1).sum()
            assert crossings.count == 0
            maps.to("meta")
            maps[0, :, 2].to("meta")  # a row of all channels is no map
            torch.empty(maps.shape, device="meta").copy_(maps)
        assert crossings.count == 2

    def test_calls_are_the_stand_in_on_a_cpu(self, gpu):
        from gpu_parts.watch import copies_of_maps

        maps = torch.zeros(8, 5, 5)
        with copies_of_maps("cpu") as copies:
            maps.sum().item(), maps.amax((1, 2)).cpu(), maps.to(maps.device)
            assert copies.count == 0
            maps.cpu(), maps.numpy(), maps.tolist(), maps.to("cpu"), np.asarray(maps)
        assert copies.count >= 5

    @pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")
    def test_no_map_leaves_the_gpu(self, gpu, tmp_path, monkeypatch):
        from gpu_parts.demo import CODED, copies
        from gpu_parts.detectors import demo_detector
        from gpu_parts.images import scenes

        monkeypatch.setenv("DETECTRON2_PATCH_CACHE", str(tmp_path))
        dataset = scenes("val", 1)
        engine = demo_detector("cuda")
        found = copies(engine, engine.read(dataset.image_path(dataset.images[0])), "cuda")
        assert found.pop(CODED) > 0 and set(found.values()) == {0}


def test_photographs_have_the_spectrum_of_photographs(gpu):
    from gpu_parts.images import photograph

    pixels = photograph(1, 240, 400)
    assert pixels.shape == (240, 400, 3) and np.array_equal(pixels, photograph(1, 240, 400))
    grey = pixels.mean(axis=2)
    power = np.abs(np.fft.fft2(grey - grey.mean())) ** 2
    radius = np.hypot(np.fft.fftfreq(240)[:, None], np.fft.fftfreq(400)[None])
    edges = np.geomspace(0.02, 0.4, 10)
    mean = [power[(radius >= a) & (radius < b)].mean() for a, b in zip(edges, edges[1:])]
    slope = np.polyfit(np.log(edges[1:]), np.log(mean), 1)[0]
    assert -3 < slope < -1.2


def test_a_training_ends_when_its_seconds_are_over(gpu):
    from gpu_parts.training import OutOfTime, Until

    class Dataset:
        images = [1]

        def image_path(self, image):
            return f"{image}.bmp"

    assert Until(Dataset(), 60).image_path(1) == "1.bmp"
    over = Until(Dataset(), -1)
    assert over.images == [1]
    with pytest.raises(OutOfTime):
        over.image_path(1)
