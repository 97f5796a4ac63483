import pytest
from made_results import made

from detectron2_patch.analysis.rate_distortion import Rate, curves
from detectron2_patch.analysis.rate_tables import (
    SEARCHED,
    delta_rows,
    format_deltas,
    format_rates,
    rate_rows,
    show_rate,
)
from detectron2_patch.settings.setting import Setting

QUALITIES = {25: 62.5, 50: 65.0, 95: 69.5}  # to AP


def result(line, rate, ap, replicates=None):
    setting = {k: v for k, v in Setting.parse(line).to_json().items() if k != "scope"}
    one = made(1, 1, 1, 1, 1, **setting)
    one["results"]["bbox"] = {"AP": ap}
    one["payload"] = {"wire": True, "bits_per_pixel": rate}
    if replicates:
        sizes = dict.fromkeys(("AP", "APs", "APm", "APl"), replicates)
        one["bootstrap"] = {"replicates": len(replicates), "seed": 0, "bbox": sizes}
    return one


def results():
    return [
        result("", None, 70.0, [70.0, 71.0]),
        *(
            result(f"--image jpeg:{q}", q / 25, 60 + q / 10, [60 + q / 10, 61.0])
            for q in (25, 50, 95)
        ),
        *(result(f"--image avif:{q}", q / 50, 60 + q / 10) for q in (25, 50, 95)),
        result("--image jxl:2", 1.0, 69.0),
        *(result(f"--bits {bits}", bits, 60 + bits) for bits in (2, 4, 8)),
    ]


def test_rates_of_all_families_and_losses():
    rows = rate_rows(curves(results()))
    assert len(rows) == 4 * 5  # losses x families: three codecs, levels, levels/bits
    avif = [row for row in rows if row["family"] == "avif" and row["loss_percent"] == 5]
    assert 1.0 < avif[0]["bits_per_pixel"] < 1.9 and avif[0]["low"] is None


def test_a_family_without_replicates_leaves_the_others_their_intervals():
    text = format_rates(curves(results()))
    (jpeg,) = (line for line in text.splitlines() if line.startswith("| jpeg"))
    assert " to " in jpeg
    (avif,) = (line for line in text.splitlines() if line.startswith("| avif"))
    assert " to " not in avif


def test_levels_are_searched_unless_they_were_named():
    whole = results()
    assert format_rates(curves(whole)).count(SEARCHED) == 2
    named = curves(whole, named=[one for one in whole if one["setting"].get("bits")][:2])
    assert {n: len(f.points) for n, f in named.families.items() if f.kind == "levels"} == {
        "levels": 2,
        "levels/bits": 2,
        "levels, searched": 3,
    }
    assert format_rates(named).count(SEARCHED) == 1
    all_named = curves(whole, named=whole)
    assert len(all_named["levels"].points) == 3 and "levels, searched" not in all_named.families


def test_a_refusal_is_told_and_the_others_are_not_stopped():
    pytest.importorskip("bjontegaard", reason="needs bjontegaard, of the extra [codecs]")
    found = curves(results())
    rows = delta_rows(found, found["avif"])
    text = format_deltas(rows, "AP")
    assert "jxl: the front of jxl has 1 point" in text
    (jpeg,) = (row for row in rows if row["family"] == "jpeg" and row["method"] == "pchip")
    assert jpeg["rate_percent"] == pytest.approx(100)
    assert "+100 %" in text and "62.5 to 69.5" in text and "100 %" in text


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (Rate(None, None, None, False), "not reached"),
        (Rate(0.05, None, None, True), "at most 0.05"),
        (Rate(0.714, 0.55, 0.93, False), "0.71 (0.55 to 0.93)"),
        (Rate(0.714, 0.55, None, False), "0.71 (0.55 to not reached)"),
        (Rate(None, 0.55, None, False), "not reached (0.55 to not reached)"),
    ],
)
def test_rates_as_people_read_them(rate, text):
    assert show_rate(rate) == text
