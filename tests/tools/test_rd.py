import csv
import json
import sys

import pytest
from made_results import made

from detectron2_patch.analysis.costs import COSTS, Costs
from detectron2_patch.results.file import write_result
from detectron2_patch.settings.setting import Setting


@pytest.fixture
def rd(load):
    return load("rd")


@pytest.fixture
def folder(tmp_path):
    lines = {"": 70.0}
    lines.update({f"--image {c}:{q}": 60 + q / 10 for c in ("jpeg", "avif") for q in (25, 50, 95)})
    lines.update({f"--bits {bits}": 61.0 + bits for bits in (2, 4, 8)})
    for number, (line, ap) in enumerate(lines.items()):
        setting = {k: v for k, v in Setting.parse(line).to_json().items() if k != "scope"}
        one = made(1, 1, 1, 1, 1, **setting)
        one["results"]["bbox"] = dict.fromkeys(one["results"]["bbox"], ap)
        one["payload"] = {"wire": True, "bits_per_pixel": 0.1 + number / 10}
        write_result(one, tmp_path / "results")
    return tmp_path


def test_prints_rates_and_deltas_and_writes_them(rd, folder, capsys):
    pytest.importorskip("bjontegaard", reason="needs bjontegaard, of the extra [codecs]")
    table, document = folder / "t.csv", folder / "t.json"
    line = [str(folder / "results"), "--csv", str(table), "--json", str(document)]
    assert rd.main(line) == 0
    out = capsys.readouterr().out
    assert "clean AP 70.0" in out and "against jpeg" in out and "levels/bits" in out
    assert len(list(csv.DictReader(table.open()))) == 4 * 4
    told = json.loads(document.read_text())
    assert told["clean"] == 70 and {row["anchor"] for row in told["deltas"]} == {"jpeg"}


def test_points_are_told_with_their_cost(rd, folder, capsys):
    costs = Costs({"images": 1})
    side = dict(zip(COSTS, (7.0, 8.0, 9.0, None)))
    costs.add(Setting.parse("--bits 4"), {"sender": side, "receiver": side})
    costs.write(folder / "costs.json")
    line = [str(folder / "results"), "--anchor", "none", "--cost", str(folder / "costs.json")]
    assert rd.main([*line, "--points", str(folder / "p.csv")]) == 0
    rows = list(csv.DictReader((folder / "p.csv").open()))
    assert len(rows) == 3 + 3 + 2 * 3
    told = {row["setting"]: row["sender_macs_per_pixel"] for row in rows}
    bits = Setting.parse("--bits 4").label
    assert told.pop(bits) == "7.0" and set(told.values()) == {""}
    assert rd.main(line) == 2
    assert "--points" in capsys.readouterr().err


def test_draws_the_figure(rd, folder):
    pytest.importorskip("matplotlib", reason="needs matplotlib, of the extra [report]")
    for name in ("f.png", "f.svg"):
        line = [str(folder / "results"), "--anchor", "none", "-o", str(folder / name)]
        assert rd.main(line) == 0
        assert (folder / name).stat().st_size > 10_000


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--anchor", "vvc"], "no results of 'vvc'; choose one of avif, jpeg"),
        (["--anchor", "none", "-o", "f.pdf"], ".png or .svg"),
        (["--named", "nowhere"], "nowhere"),
        (["nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_line(rd, folder, more, words, capsys):
    pytest.importorskip("bjontegaard", reason="needs bjontegaard, of the extra [codecs]")
    assert rd.main([str(folder / "results"), *more]) == 2
    err = capsys.readouterr().err.strip()
    assert err.startswith("error: ") and words in err and "\n" not in err


def test_without_the_package_it_says_what_to_install(rd, folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "bjontegaard", None)
    assert rd.main([str(folder / "results")]) == 2
    assert "pip install 'detectron2-patch[codecs]'" in capsys.readouterr().err
    assert rd.main([str(folder / "results"), "--anchor", "none"]) == 0
