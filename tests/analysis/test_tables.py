from detectron2_patch.analysis.tables import (
    format_change,
    format_methods,
    format_sent,
    format_settings,
    format_table,
)
from detectron2_patch.results.file import load_results
from detectron2_patch.settings.setting import Setting

BBOX = {"AP": 41.25, "AP50": 60.0, "AP75": 44.0, "APs": None, "APm": 30.5, "APl": 1 / 3}
BBOX["AP-cell"] = 41.25


def test_change_leaves_out_what_has_no_value():
    damaged = {"bbox": {**BBOX, "AP": 40.0, "APm": 30.5}}
    assert format_change(damaged, {"bbox": BBOX}) == (
        "against the clean pyramid: AP -1.2, AP50 +0.0, AP75 +0.0, APm +0.0, APl +0.0"
    )


def test_table():
    bbox = {**BBOX, "AP-a|b": 1.0, "AP-long name": None, "AP-d": 100.0}
    assert format_table({"bbox": bbox}).splitlines() == [
        "| AP     | AP50   | AP75   | APs   | APm    | APl   |",
        "|--------|--------|--------|-------|--------|-------|",
        "| 41.250 | 60.000 | 44.000 | -     | 30.500 | 0.333 |",
        "",
        "| class   | AP      | class   | AP    | class     | AP   |",
        "|---------|---------|---------|-------|-----------|------|",
        "| cell    | 41.250  | a\\|b    | 1.000 | long name | -    |",
        "| d       | 100.000 |         |       |           |      |",
    ]


def test_table_without_classes():
    assert (
        format_table({"bbox": {"AP": 1.0}}).splitlines()[2]
        == "| 1.000 | -      | -      | -     | -     | -     |"
    )


def test_settings_stand_clean_first_then_by_scope_and_level():
    def result(scope, *ratios):
        cr = dict(zip(("p2", "p3", "p4", "p5", "p6"), ratios))
        return {
            "setting": {"scope": scope, "cr": cr},
            "results": {"bbox": BBOX},
            "dataset": {"name": "cells"},
        }

    given = [
        result("pyramid", 8, 1, 1, 1, 1),
        result("rpn", 1, 1, 1, 1, "max"),
        result("rpn", 8, 1, 1, 1, 1),
        result("pyramid", 1, 1, 1, 1, 1),
        result("rpn", 8, 8, 8, 8, 8),
    ]
    given.append(
        {
            "dataset": None,
            "results": {"bbox": BBOX},
            "setting": Setting.parse("--restore origin:0.3,0.7 --scope rpn").to_json(),
        }
    )
    given.insert(0, result("rpn", 1, 1, 1, 1, 1))
    given[0]["setting"]["bits"] = {"p2": 4}
    rows = [line.split(" | ")[1:3] for line in format_settings(given).splitlines()[2:]]
    assert [(a.strip(), b.strip()) for a, b in rows] == [
        ("pyramid", "1 1 1 1 1"),
        ("rpn", "8 1 1 1 1"),
        ("rpn", "1 1 1 1 max"),
        ("rpn", "8 8 8 8 8"),
        ("pyramid", "8 1 1 1 1"),
        ("rpn", "4 bits P2"),
        ("rpn", "send P3 P5, as the study, P4 from P3 P5 0.3 0.7"),
    ]


def test_methods_show_both_scopes_of_a_setting_in_one_row():
    def one(ap, cr, scope, total=None):
        made = setting_result(ap, cr, scope)
        if total:
            made["payload"].update(total_bytes=total, side_bytes={"basis": 0})
        made["bootstrap"] = {
            "replicates": 2,
            "seed": 0,
            "bbox": {size: [ap, ap + 1] for size in ("AP", "APs", "APm", "APl")},
        }
        return made

    table = format_methods(
        [
            one(50.0, 1, "pyramid"),
            one(50.0, 1, "rpn"),
            one(45.0, 2, "rpn"),
            one(40.0, 2, "pyramid", total=10),
        ]
    )
    clean, halved = table.splitlines()[2:]
    assert clean.split("|")[1].strip() == "clean" and " 50.0 " in clean
    assert [cell.strip() for cell in halved.split("|")[1:8]] == [
        "2 2 2 2 2",
        "-",
        "40.0",
        "45.0",
        "10.0 (9.8 to 10.0)",
        "40.0",
        "20.0 (19.6 to 20.0)",
    ]


def test_methods_of_two_fitted_files_keep_to_their_own_rows():
    """The label of both is the same: what joins the scopes is the setting."""

    def one(ap, scope, fitted):
        made = setting_result(ap, 1, scope)
        made["setting"].update(rank=dict.fromkeys(made["setting"]["cr"], 8), fitted=fitted)
        return made

    first, second = "a" * 64, "b" * 64
    table = format_methods(
        [
            setting_result(50.0, 1, "pyramid"),
            one(40.0, "pyramid", first),
            one(30.0, "pyramid", second),
            one(45.0, "rpn", first),
            one(35.0, "rpn", second),
        ]
    )
    rows = [[cell.strip() for cell in line.split("|")[1:7]] for line in table.splitlines()[2:]]
    assert {row[0]: (row[3], row[5]) for row in rows} == {
        "rank 8 (fitted aaaaaaaa)": ("45.0", "40.0"),
        "rank 8 (fitted bbbbbbbb)": ("35.0", "30.0"),
        "clean": ("-", "50.0"),
    }


def setting_result(ap, ratio, scope):
    full = dict.fromkeys(("p2", "p3", "p4", "p5", "p6"), 25)
    return {
        "setting": {"cr": dict.fromkeys(full, ratio), "scope": scope},
        "results": {"bbox": {"AP": ap, "APs": ap, "APm": ap, "APl": ap}},
        "payload": {"sent": full, "full": full},
        "dataset": {"name": "d", "digest": "0"},
        "weights": {"path": "w", "sha256": "s"},
        "config": {"digest": "c"},
        "engine": "torchvision",
    }


def test_what_is_sent_names_the_file_that_both_sides_have():
    (result,) = load_results("results/demo_test/learned.json.gz")[:1]
    size = result["setting"]["pyramid"]["installed_bytes"] / 1e6
    said = format_sent(result)
    assert said.endswith(f"in fp32, beside a file of {size:.2f} MB installed once")
    del result["setting"]["pyramid"]["installed_bytes"]
    assert format_sent(result).endswith("in fp32")
