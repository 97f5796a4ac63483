import csv
import math
import sys

import pytest
from made_results import made

from detectron2_patch import read_table
from detectron2_patch.errors import InputError
from detectron2_patch.report.records import make_groups
from detectron2_patch.report.table import make_rows, write_csv
from detectron2_patch.results.file import write_result

RESULTS = [
    made(1, 1, 1, 1, 1),
    made(2, 1, 1, 1, "max"),
    made(2, 1, 1, 1, 1, scope="rpn", dataset="co,co", classes=("<b>", "bar")),
]


def test_a_row_has_the_numbers_of_its_result():
    row = make_rows(make_groups(RESULTS))[2]
    assert row["dataset"] == "co,co" and row["AP-<b>"] == 67.5 and row["AP-disc"] is None
    row = make_rows(make_groups(RESULTS))[1]
    assert (row["p2"], row["p6"], row["setting"]) == (2, math.inf, "2 1 1 1 max")
    assert row["AP"] == 62 and row["drop_AP"] == 8 and row["drop_AP_percent"] == 800 / 70
    assert row["elements_sent"] == 10240 + 10240 + 2560 + 640 + 10
    assert row["bytes"] == 4 * row["elements_sent"]
    assert row["times_smaller"] == 54400 / row["elements_sent"]


def test_csv_and_table_hold_the_same(tmp_path):
    pandas = pytest.importorskip("pandas")
    for result in RESULTS:
        write_result(result, tmp_path / "results")
    write_csv(make_groups(RESULTS), tmp_path / "a.csv")
    order = ["dataset", "scope", "setting"]
    read = pandas.read_csv(tmp_path / "a.csv").sort_values(order, ignore_index=True)
    table = read_table(tmp_path / "results").sort_values(order, ignore_index=True)
    pandas.testing.assert_frame_equal(read, table, check_dtype=False)
    assert math.inf in table["p6"].tolist()
    assert str(table["AP"].dtype) == "float64"


def test_the_csv_is_tidy(tmp_path):
    write_csv(make_groups(RESULTS), tmp_path / "a.csv")
    with open(tmp_path / "a.csv", newline="") as file:
        lines = list(csv.reader(file))
    assert len(lines) == 4 and len({len(line) for line in lines}) == 1
    assert lines[0][:13] == [
        "dataset",
        "images",
        "model",
        "weights",
        "engine",
        "scope",
        "p2",
        "p3",
        "p4",
        "p5",
        "p6",
        "setting",
        "AP",
    ]


def test_without_pandas_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="pip install pandas"):
        read_table(tmp_path)


def test_a_clean_pyramid_that_finds_nothing_has_no_percent_to_lose():
    clean, damaged = made(1, 1, 1, 1, 1), made(2, 1, 1, 1, 1)
    for one in (clean, damaged):
        one["results"]["bbox"] = dict.fromkeys(one["results"]["bbox"], 0.0)
    damaged["results"]["bbox"]["AP"] = 1.0  # by chance, more than the clean one
    for row, points in zip(make_rows(make_groups([clean, damaged])), (0.0, -1.0)):
        assert row["drop_AP"] == points and row["drop_AP_percent"] is None
