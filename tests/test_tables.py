from detectron2_patch.tables import format_change, format_table

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
