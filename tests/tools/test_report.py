import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_results import made, made_grid

from detectron2_patch.results.file import write_result
from detectron2_patch.results.packing import write_packed

pytest.importorskip("matplotlib", reason="needs matplotlib, of the extra [report]")


@pytest.fixture
def report(load):
    return load("report")


@pytest.fixture
def folder(tmp_path):
    for result in (made(1, 1, 1, 1, 1), made(2, 1, 1, 1, 1), made(1, 2, 1, 1, 1)):
        write_result(result, tmp_path / "results")
    return tmp_path


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_makes_page_figures_and_table(report, folder, capsys):
    assert report.main([str(folder / "results"), "-o", str(folder / "r")]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "r" / "index.html")
    assert files(folder / "r") == [
        "figures/levels_pyramid.png",
        "figures/levels_pyramid.svg",
        "figures/payload_pyramid.png",
        "figures/payload_pyramid.svg",
        "index.html",
        "results.csv",
    ]


def test_says_what_it_could_not_draw_or_read(report, folder, caplog, capsys):
    (folder / "results" / "half.json").write_text("{")
    assert report.main([str(folder / "results"), "-o", str(folder / "r")]) == 0
    err = capsys.readouterr().err
    assert "left out 1: " in err and "half.json" in err
    assert "levels_pyramid: no result for P4 at 2, P5 at 2, P6 at 2" in err
    assert "not drawn: pairs at full degradation, scope pyramid" in err
    page = (folder / "r" / "index.html").read_text()
    assert "half.json" in page and "No result for P4 at 2, P5 at 2, P6 at 2." in page


def test_names_of_files_are_text_in_the_page(report, folder):
    (folder / "results" / "<script>alert(1)<").mkdir()
    (folder / "results" / "<script>alert(1)<" / "a.json").write_text("{")
    assert report.main([str(folder / "results"), "-o", str(folder / "r")]) == 0
    page = (folder / "r" / "index.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/a.json" in page and "<script>alert" not in page


def test_mixed_results_get_a_report_each(report, folder, capsys):
    write_result(made(1, 1, 1, 1, 1, dataset="other"), folder / "results")
    assert report.main([str(folder / "results"), "-o", str(folder / "r")]) == 0
    assert "the results are mixed, 2 reports: cells, demo aaaaaaaa" in capsys.readouterr().err
    names = files(folder / "r")
    assert {
        "index.html",
        "results.csv",
        "cells_demo_aaaaaaaa_torchvision/index.html",
        "other_demo_aaaaaaaa_torchvision/index.html",
    } <= set(names)
    assert (
        'href="cells_demo_aaaaaaaa_torchvision/index.html"'
        in (folder / "r" / "index.html").read_text()
    )


def test_a_second_report_leaves_no_figure_of_the_first(report, folder):
    assert report.main([str(folder / "results"), "-o", str(folder / "r")]) == 0
    write_result(made(1, 1, 1, 1, 1, scope="rpn"), folder / "clean")
    assert report.main([str(folder / "clean"), "-o", str(folder / "r")]) == 0
    assert files(folder / "r") == ["index.html", "results.csv"]


@pytest.mark.parametrize("given", ["empty", "none", "foreign"])
def test_nothing_to_report_on_is_refused_and_nothing_written(report, folder, given, capsys):
    (folder / "empty").mkdir()
    (folder / "foreign").mkdir()
    (folder / "foreign" / "a.json").write_text("[1]")
    assert report.main([str(folder / given), "-o", str(folder / "r")]) == 2
    err = capsys.readouterr().err.strip()
    assert err.startswith("error: ") and given in err and "\n" not in err
    assert not (folder / "r").exists()


def test_without_matplotlib_nothing_is_written(report, folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert report.main([str(folder / "results"), "-o", str(folder / "r")]) == 2
    assert "pip install matplotlib" in capsys.readouterr().err
    assert not (folder / "r").exists()


def test_key_levels_come_from_all_combinations(report, tmp_path, capsys):
    write_packed(made_grid(1, "max"), tmp_path / "grid.json.gz")
    assert report.main([str(tmp_path / "grid.json.gz"), "-o", str(tmp_path / "r")]) == 0
    assert "figures/key_levels_rpn.svg" in files(tmp_path / "r")


def test_the_shipped_grid_in_time_and_memory(tmp_path):
    """6,250 settings: 20 s of computing and 1 GB at most."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs Linux, whose /proc tells the largest memory of a process")
    code = (
        "import sys, time; sys.path.insert(0, 'tools'); import report; "
        f"assert report.main(['results/demo', '-o', {str(tmp_path)!r}]) == 0; "
        f"peak = open({str(status)!r}).read().split('VmHWM:')[1].split()[0]; "
        "print(time.process_time(), int(peak) / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, megabytes = map(float, done.stdout.split()[-2:])
    print(f"{seconds:.1f} s, {megabytes:.0f} MiB")
    assert seconds < 20 and megabytes < 1024


def test_help_is_quick():
    start = time.monotonic()
    line = [sys.executable, "-X", "importtime", "tools/report.py", "--help"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert "matplotlib" not in done.stderr and " numpy" not in done.stderr
    print(f"{time.monotonic() - start:.2f} s")


@pytest.mark.parametrize("scope", ["pyramid", "rpn"])
def test_a_clean_pyramid_that_finds_nothing_is_reported(report, tmp_path, capsys, scope):
    clean = made(1, 1, 1, 1, 1, scope=scope)
    zero = dict.fromkeys(clean["results"]["bbox"], 0.0)
    for one in (clean, made(2, 1, 1, 1, 1), made(1, 2, 1, 1, 1)):
        write_result({**one, "results": {"bbox": zero}}, tmp_path / "results")
    assert report.main([str(tmp_path / "results"), "-o", str(tmp_path / "r")]) == 0
    assert (tmp_path / "r" / "index.html").exists()


def test_settings_that_all_lose_much_are_drawn(report, tmp_path):
    for one in (
        made(1, 1, 1, 1, 1, scope="rpn"),
        made("max", 1, 1, 1, 1),
        made("max", "max", 1, 1, 1),
    ):
        write_result(one, tmp_path / "results")
    assert report.main([str(tmp_path / "results"), "-o", str(tmp_path / "r")]) == 0
    assert "figures/payload_pyramid.png" in files(tmp_path / "r")
