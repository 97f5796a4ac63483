from detectron2_patch.tables import format_change, format_settings, format_table

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
        "| AP     | AP50   | AP75   | APs | APm    | APl   |",
        "| ------ | ------ | ------ | --- | ------ | ----- |",
        "| 41.250 | 60.000 | 44.000 | -   | 30.500 | 0.333 |",
        "",
        "| class | AP      | class | AP    | class     | AP |",
        "| ----- | ------- | ----- | ----- | --------- | -- |",
        "| cell  | 41.250  | a\\|b  | 1.000 | long name | -  |",
        "| d     | 100.000 |       |       |           |    |",
    ]


def test_table_without_classes():
    assert (
        format_table({"bbox": {"AP": 1.0}}).splitlines()[2]
        == "| 1.000 | -    | -    | -   | -   | -   |"
    )


def test_settings_stand_clean_first_then_by_scope_and_level():
    def result(scope, *ratios):
        cr = dict(zip(("p2", "p3", "p4", "p5", "p6"), ratios))
        return {"setting": {"scope": scope, "cr": cr}, "results": {"bbox": BBOX},
                "dataset": {"name": "cells"}}

    given = [result("pyramid", 8, 1, 1, 1, 1), result("rpn", 1, 1, 1, 1, "max"),
             result("rpn", 8, 1, 1, 1, 1), result("pyramid", 1, 1, 1, 1, 1),
             result("rpn", 8, 8, 8, 8, 8)]
    given.append({"dataset": None, "results": {"bbox": BBOX},
                  "setting": {"scope": "rpn", "cr": None, "weights": {"p5": 0.7, "p3": 0.3}}})
    given.insert(0, result("rpn", 1, 1, 1, 1, 1))
    given[0]["setting"]["bits"] = {"p2": 4}
    rows = [line.split(" | ")[1:3] for line in format_settings(given).splitlines()[2:]]
    assert [(a.strip(), b.strip()) for a, b in rows] == [
        ("pyramid", "1 1 1 1 1"), ("rpn", "8 1 1 1 1"), ("rpn", "1 1 1 1 max"),
        ("rpn", "8 8 8 8 8"), ("pyramid", "8 1 1 1 1"), ("rpn", "4 bits"),
        ("rpn", "send P3 P5, origin, P4 = 0.7 P5 + 0.3 P3"),
    ]
