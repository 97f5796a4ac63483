"""COCO files as tools write them: refused in one line, or equal to pycocotools."""

import copy
import json
import math
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectron2_patch.data.coco import load_coco
from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.coco import CocoEvaluator


def annotate(**values):
    return lambda document: document["annotations"][0].update(values)


REFUSED = {
    "iscrowd '0'": (annotate(iscrowd="0"), "iscrowd '0'; it has to be 0 or 1"),
    "iscrowd 'False'": (annotate(iscrowd="False"), "iscrowd 'False'"),
    "iscrowd null": (annotate(iscrowd=None), "iscrowd None"),
    "iscrowd list": (annotate(iscrowd=[]), "iscrowd []"),
    "iscrowd NaN": (annotate(iscrowd=math.nan), "iscrowd nan"),
    "iscrowd 0.5": (annotate(iscrowd=0.5), "iscrowd 0.5"),
    "area negative": (annotate(area=-600), "area -600"),
    "area NaN": (annotate(area=math.nan), "area nan"),
    "area text": (annotate(area="600"), "area '600'"),
    "iscrowd 2": (annotate(iscrowd=2), "iscrowd 2; it has to be 0 or 1"),
    "ignore": (annotate(ignore=1), "ignore 1"),
    "ignore of a crowd": (annotate(ignore=1, iscrowd=1), "iscrowd is 1 already"),
    "class of a surrogate": (
        lambda d: d["categories"][0].update(name="a\udc80"),
        "whole characters",
    ),
    "class of NUL": (lambda d: d["categories"][0].update(name="a\0b"), "whole characters"),
    "file of NUL": (lambda d: d["images"][0].update(file_name="a\0.png"), "are not in"),
    "folder of NUL": (lambda d: d["images"][0].update(file_name="a\0/b.png"), "are not in"),
    "folder of a surrogate": (
        lambda d: d["images"][0].update(file_name="\ud800/b.png"),
        "are not in",
    ),
    "width of 4,000 digits": (lambda d: d["images"][0].update(width=10**4000), "whole number"),
    "width of 64.5": (lambda d: d["images"][0].update(width=64.5), "whole number"),
    "image_id of 4,000 digits": (annotate(image_id=10**4000), "image_id 1000"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("tool", ["train_net", "sweep", "train", "level_shares"])
def test_refused_in_one_line(call, edit, tool, kind):
    change, words = REFUSED[kind]
    edit(change)
    status, line, _ = call(tool)
    assert status == 2 and words in line and len(line) < 500


def test_detectron2s_engine_refuses_in_the_same_words(call, edit, engine):
    edit(annotate(iscrowd="0"))
    assert "iscrowd '0'; it has to be 0 or 1" in call("train_net", engine)[1]


@pytest.mark.parametrize("tool", ["train_net", "level_shares"])
def test_a_number_of_5000_digits(call, tiny, tool):
    text = (tiny / "boxes.json").read_text()
    (tiny / "boxes.json").write_text(text.replace('"area": 600', f'"area": {"9" * 5000}', 1))
    status, line, _ = call(tool)
    assert status == 2 and "not valid JSON" in line and len(line) < 500


def as_boxes(*boxes):
    def change(document):
        for annotation, box in zip(document["annotations"], boxes):
            annotation["bbox"] = list(box)

    return change


CORNERS = (30, 20, 60, 40)
WARNED = {
    "corners": (as_boxes(*3 * [CORNERS]), "look like x0 y0 x1 y1"),
    "corners but one": (as_boxes(CORNERS, CORNERS, (5, 6, 20, 30)), "look like x0 y0 x1 y1"),
    "per cent": (as_boxes(*3 * [(50, 60, 90, 20)]), "check that they are x y width height"),
    "another image's": (as_boxes(*3 * [(100, 100, 20, 20)]), "in pixels of these images"),
    "shares of the sides": (as_boxes(*3 * [(0.1, 0.2, 0.3, 0.4)]), "look like shares"),
    "shares that reach beyond": (as_boxes(*3 * [(0.1, 0.2, 1.02, 0.9)]), "look like shares"),
    "shares but one": (
        as_boxes(*2 * [(0.1, 0.2, 0.3, 0.4)], (5, 6, 20, 30)),
        "2 of 3 boxes have no number above 1.5: they look like shares",
    ),
    "a supercategory": (
        lambda d: d["categories"].__setitem__(1, {"id": 0, "name": "things"}),
        "category 0, 'things', has no annotation",
    ),
}


@pytest.mark.parametrize("kind", WARNED)
@pytest.mark.parametrize("tool", ["train_net", "level_shares"])
def test_warned_of_once(call, edit, tool, kind):
    assert "look like" not in call(tool)[2]
    edit(WARNED[kind][0])
    _, _, told = call(tool)
    assert told.count(WARNED[kind][1]) == 1


RAW = {
    "a byte order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "outlines that are none": lambda text: text.replace(
        '"area"', '"segmentation": [1, 2, 3, 4, 5, 6], "keypoints": ["x"], "area"'
    ).encode(),
}


@pytest.mark.parametrize("kind", RAW)
def test_what_boxes_do_not_need_hinders_no_training(call, tiny, engine, kind):
    """detectron2's own reader ends in tracebacks."""
    path = tiny / "boxes.json"
    path.write_bytes(RAW[kind](path.read_text()))
    for tool in ("train_net", "train"):
        assert call(tool, engine)[0] == 0


def test_ids_as_whole_floats_are_those_numbers(call, edit, tiny):
    before = load_coco("x", tiny / "boxes.json", tiny / "images")
    edit(lambda d: [a.update(id=float(a["id"])) for a in d["annotations"]])
    after = load_coco("x", tiny / "boxes.json", tiny / "images")
    assert after.annotations == before.annotations
    assert type(after.annotations[3][0]["id"]) is int
    assert call("train_net")[0] == 0


def test_sides_as_whole_floats_are_those_numbers(call, edit, tiny):
    edit(lambda d: [i.update(width=64.0, height=48.0) for i in d["images"]])
    assert load_coco("x", tiny / "boxes.json", tiny / "images").images[0]["width"] == 64
    for tool in ("train_net", "train", "level_shares"):
        assert call(tool)[0] == 0


def test_a_link_in_a_loop_beside_the_images_is_no_matter(call, tiny):
    os.symlink("loop.png", tiny / "images" / "loop.png")
    assert call("train_net")[0] == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may enter any folder")
def test_a_folder_that_may_not_be_entered_is_told_as_such(call, tiny):
    (tiny / "images").chmod(0)
    try:
        assert "may not be entered" in call("train_net")[1]
    finally:
        (tiny / "images").chmod(0o755)


VALUES = st.sampled_from(
    [0, 1, -1, 2.0, 0.5, 10**30, -(10**4000), math.nan, math.inf, True, None, "", "7", "a\0\udc80"]
    + [[], [1, 2], {}, {"id": 1}, [1, 2, 3, 4], [0, 0, 0, 0], [-5.5, 1e200, 1e299, 3]]
)


@settings(
    max_examples=500,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_a_mutated_json_is_refused_or_equals_pycocotools(tiny, data):
    document = json.loads((tiny / "boxes.json").read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        part = data.draw(st.sampled_from(sorted(document)))
        if not document[part] or data.draw(st.integers(0, 9)) == 0:
            document[part] = copy.deepcopy(data.draw(VALUES))  # else it may come to hold itself
            break
        place = data.draw(st.integers(0, len(document[part]) - 1))
        entry = document[part][place]
        if not isinstance(entry, dict) or data.draw(st.integers(0, 9)) == 0:
            document[part][place] = copy.deepcopy(data.draw(VALUES))
        elif entry:
            entry[data.draw(st.sampled_from(sorted(entry)))] = copy.deepcopy(data.draw(VALUES))
    path = tiny / "mutated.json"
    path.write_text(json.dumps(document))
    try:
        dataset = load_coco("mutated", path, tiny / "images")
        evaluators = [CocoEvaluator(dataset, name) for name in ("hotcoco", "pycocotools")]
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        return
    found = [
        {"image_id": image["id"], "boxes": [[5, 6, 25, 36]], "scores": [0.9], "classes": [0]}
        for image in dataset.images
    ]
    fast, reference = (one.evaluate(found) for one in evaluators)
    assert fast == reference
