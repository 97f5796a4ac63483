import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_results import made, made_grid

from detectron2_patch.errors import InputError

pytest.importorskip("matplotlib", reason="needs matplotlib, of the extra [report]")

from text_boxes import outside, overlaps

from detectron2_patch.report.figures import NAMES, draw_all, numbering, payload, style
from detectron2_patch.report.inputs import Inputs
from detectron2_patch.report.make import key_levels_of
from detectron2_patch.report.records import make_groups
from detectron2_patch.results.file import load_results


def draw(results):
    (group,) = make_groups(results)
    with style.style():
        figures, absent = draw_all(group, key_levels_of(group, Inputs(results=results)))
    return {figure.name: figure for figure in figures}, absent


def texts(figure):
    import matplotlib.text

    return [one.get_text() for one in figure.canvas.findobj(matplotlib.text.Text)]


def test_a_whole_folder_gives_every_figure_under_what_it_was_measured_on():
    figures, absent = draw(made_grid(1, "max"))
    assert set(figures) == set(NAMES) - {"rate_distortion_pyramid"}
    assert [sentence.split(":")[0] for sentence in absent] == ["AP against bits per pixel"]
    for name, figure in figures.items():
        assert (
            "cells (10 images) · demo aaaaaaaa · engine torchvision · clean: AP 70.0, APs 60.0, "
            "APm 71.0, APl 80.3"
        ) in texts(figure)
        assert any(text.startswith(f"scope {name.rpartition('_')[2]}:") for text in texts(figure))


def test_rate_and_distortion_has_a_line_a_family_and_the_1_percent_line():
    results = [made(1, 1, 1, 1, 1)]
    for family in ("jpeg", "avif"):
        for at in (1, 2, 3):
            image = {"codec": family, "version": 1, "quality": 20 * at, "scale": 1.0}
            results.append(made(1, 1, 1, 1, 1, image={**image, "chroma": "420"}))
            results[-1]["results"]["bbox"]["AP"] = 65.0 + at
            results[-1]["payload"] = {"wire": True, "bits_per_pixel": at / 2}
    for bits in (2, 4):
        results.append(made(1, 1, 1, 1, 1, bits={"p2": bits}))
        results[-1]["results"]["bbox"]["AP"] = 62.0 + bits
        results[-1]["payload"] = {"wire": True, "bits_per_pixel": bits}
    figures, absent = draw(results)
    figure = figures["rate_distortion_pyramid"]
    lines = {line.get_label(): line for line in figure.canvas.axes[0].lines}
    assert list(lines) == [
        "clean",
        "1 % lost",
        "picture, AVIF",
        "picture, JPEG",
        "pyramid, no training (searched here)",
    ]
    assert lines["1 % lost"].get_ydata()[0] == pytest.approx(69.3)
    assert lines["picture, AVIF"].get_xdata().tolist() == [0.5, 1.0, 1.5]
    assert len({line.get_marker() for line in lines.values()} - {"None"}) == 3
    assert len({panel.get_xlim() for panel in figure.canvas.axes}) == 1


def test_lines_hold_the_results_and_a_gap_where_there_is_none():
    figures, _ = draw(
        [
            made(1, 1, 1, 1, 1),
            made(2, 1, 1, 1, 1),
            made(4, 1, 1, 1, 1),
            made(1, 2, 1, 1, 1),
            made(1, 1, 1, 1, "max"),
        ]
    )
    figure = figures["levels_pyramid"]
    lines = {line.get_label(): line.get_ydata() for line in figure.canvas.axes[0].lines}
    assert lines["P2"][:3].tolist() == [70, 65, 70 - 5 * 3**0.5]
    assert [value == value for value in lines["P3"]] == [True, True, False, False]
    assert [value == value for value in lines["P6"]] == [True, False, False, True]
    assert figure.missing[:3] == ["P2 at max", "P3 at 4", "P3 at max"]
    assert "levels_rpn" not in figures


def test_bars_are_the_points_lost_and_a_missing_pair_is_named():
    figures, _ = draw([made(1, 1, 1, 1, 1), made("max", "max", 1, 1, 1)])
    figure = figures["pairs_pyramid"]
    heights = [bars[0].get_height() for bars in figure.canvas.axes[0].containers]
    assert heights == pytest.approx([48 / 3, 48 / 7, 48])
    assert len(figure.missing) == 9 and "P2+P4 at max" in figure.missing
    assert texts(figure).count("no\nresult") == 9
    numbers = [one for one in figure.canvas.axes[0].texts if one.get_text().isdigit()]
    assert [one.get_text() for one in numbers] == ["16", "7", "48"]
    assert {one.get_va() for one in numbers} == {"top"}  # losses point down: behind their ends


def test_without_a_clean_result_only_what_needs_none_is_drawn():
    figures, absent = draw([made(2, 1, 1, 1, 1), made(4, 1, 1, 1, 1)])
    assert list(figures) == ["levels_pyramid"]
    assert [sentence.split(":")[0] for sentence in absent] == [
        "AP against bits per pixel",
        "payload against AP drop",
        "pairs at full degradation, scope pyramid",
        "key levels, scope pyramid",
    ]


def test_the_named_methods_are_the_other_settings_and_one_ratio_on_all_levels():
    results = made_grid(1, 2)
    for bits in (2, 4):
        results.append(made(1, 1, 1, 1, 1, bits={"p2": bits}))
        results[-1]["payload"]["total_bytes"] = bits * 1000
    figures, _ = draw(results)
    found = texts(figures["payload_pyramid"])
    assert "1  all levels at 2" in found and any(text.startswith("3  2 bits P2") for text in found)
    assert "Pareto front (" in " ".join(found)


def test_many_methods_leave_room_for_those_on_the_front():
    results = [made(1, 1, 1, 1, 1), made(2, 2, 2, 2, 2)]
    for i in range(50):
        results.append(made(1, 1, 1, 1, 1, rank={"p2": i}))
        results[-1]["payload"]["total_bytes"] = 1000 - i
        results[-1]["results"]["bbox"]["AP"] = 60 if i < 49 else 69
    (group,) = make_groups(results)
    known = [record for record in group.records if record.smaller]
    named = payload.choose_named(known, payload.pareto_front(group))
    assert [record.label for record in named] == ["2 2 2 2 2", "rank 49 P2"]


def test_what_sends_least_within_the_allowed_drop_is_numbered_and_named_whole():
    results = [made(1, 1, 1, 1, 1)]
    for i in range(60):  # the front goes on behind it
        results.append(made(1, 1, 1, 1, 1, rank={"p2": i + 1, "p3": 60 - i}))
        results[-1]["payload"]["total_bytes"] = 5000 - 50 * i
        results[-1]["results"]["bbox"]["AP"] = 70 - i / 10
    (group,) = make_groups(results)
    known = [record for record in group.records if record.smaller]
    (best,) = payload.smallest_within(group, known)
    assert best.metrics["AP"] == pytest.approx(69.1)  # 69.0 has lost 1.43 %
    with style.style():
        figure = payload.draw(group)
    named = [text for text in texts(figure) if "smallest within" in " ".join(text.split())]
    assert len(named) == 1 and best.label in " ".join(named[0].split())


points = st.tuples(st.floats(0, 300), st.floats(0, 250))


@given(st.lists(points, min_size=1, max_size=12))
def test_numbers_never_cover_one_another(given_points):
    places = numbering.place_beside(given_points, (0, 0), (300, 250))
    for i, place in enumerate(places):
        assert all(math.dist(place, other) >= 2 * numbering.RADIUS for other in places[:i])
        assert all(0 <= at <= most for at, most in zip(place, (300, 250)))


def test_losses_point_down_and_axes_are_alike_across_scopes():
    figures, _ = draw(made_grid(1, "max"))  # in scope rpn half is lost
    for kind in ("levels", "pairs", "key_levels"):
        both = [figures[f"{kind}_{scope}"].canvas.axes for scope in ("rpn", "pyramid")]
        limits = [[(one.get_ylim(), one.get_xlim()) for one in panels] for panels in both]
        assert limits[0] == limits[1]
        top_is_small = limits[0][0][0][0] > limits[0][0][0][1]
        assert top_is_small == (kind != "levels")
    losing = figures["payload_pyramid"].canvas.axes
    assert all(panel.yaxis_inverted() for panel in losing)


def test_the_legend_has_every_mark():
    figures, _ = draw(made_grid(1, "max"))
    assert {"95 % interval", "key: surely more than a fifth of all"} <= set(
        texts(figures["key_levels_pyramid"])
    )
    assert "named below" in texts(figures["payload_pyramid"])


def small(folder, *names):
    """Some of the committed results, without their resamples, which take seconds to draw."""
    return [
        {key: value for key, value in result.items() if key != "bootstrap"}
        for name in names
        for result in load_results(f"results/{folder}/{name}.json.gz")
    ]


@pytest.mark.parametrize(
    "folder, names", [("demo", ("methods", "search", "images")), ("bccd", ("methods", "search"))]
)
def test_no_text_covers_another_in_the_figures_of_the_committed_results(folder, names):
    figures, _ = draw(small(folder, *names))
    assert "payload_pyramid" in figures
    for name, figure in figures.items():
        assert (overlaps(figure.canvas), outside(figure.canvas)) == ([], []), name


def test_no_text_covers_another_in_all_kinds_of_figures():
    figures, _ = draw([*made_grid(1, "max"), *made_grid(1, 2)])
    for name, figure in figures.items():
        assert (overlaps(figure.canvas), outside(figure.canvas)) == ([], []), name


def test_equal_data_give_equal_bytes_and_names_are_no_formulas(tmp_path):
    results = [
        made(*r, dataset="a $b$ {x} _c\n\x07", config="x/$\\frac{.yaml", engine="<script>")
        for r in ((1, 1, 1, 1, 1), (2, 1, 1, 1, 1), (1, 1, 1, 1, 2))
    ]
    for folder in ("a", "b"):
        figures, _ = draw(results)
        with style.style():
            for figure in figures.values():
                style.write(figure, tmp_path / folder)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == [
        "levels_pyramid.png",
        "levels_pyramid.svg",
        "payload_pyramid.png",
        "payload_pyramid.svg",
    ]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match="pip install matplotlib"):
        with style.style():
            pass
