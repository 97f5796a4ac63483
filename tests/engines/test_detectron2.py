"""The engine on real detectron2: reading, detecting, and the parts that a sweep runs."""

import numpy as np
import pytest
import torch
from PIL import Image

from detectron2_patch.engines.torchvision import TorchvisionEngine
from detectron2_patch.errors import InputError
from detectron2_patch.patch import patch_rpn
from detectron2_patch.rcnn.boxes import to_image
from detectron2_patch.rcnn.pooler import pooled_level
from detectron2_patch.settings.levels import LEVELS


@pytest.fixture(scope="module")
def engine(tiny_engine):
    return tiny_engine(["MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0])


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.RandomState(1).randint(0, 256, (96, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_reads_what_the_built_in_engine_reads(engine, photo):
    from detectron2_patch.config import load_cfg

    other = TorchvisionEngine(load_cfg("configs/demo.yaml", ["INPUT.MIN_SIZE_TEST", "128"]), "cpu")
    wanted, found = other.read(photo), engine.read(photo)
    assert torch.equal(found.tensor.float(), wanted.tensor)
    assert tuple(found.image_size) == wanted.image_size == (96, 120)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_image_is_one_line_from_the_loader_too(engine, photo, tmp_path, workers):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"not an image")
    images = engine.read_all([photo, bad], workers)
    assert torch.equal(next(images).tensor, engine.read(photo).tensor)
    with pytest.raises(InputError, match="cannot read image .*bad.png") as caught:
        next(images)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scope", ["rpn", "pyramid"])
def test_the_parts_give_what_detect_gives(engine, photo, scope):
    """One image in one setting, put together from the parts as a sweep does."""
    from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference_single_image

    image, ratios = engine.read(photo), dict(zip(LEVELS, (2, 1, 4, 1, 2)))
    batch = engine.batch([image])
    clean = engine.pyramid(batch)
    with patch_rpn(engine.model, ratios) as patch:
        damaged = patch.apply(clean)
    parts = [engine.level_proposals(batch, level, damaged[level])[0] for level in LEVELS]
    boxes, logits = (torch.cat([getattr(p, k) for p in parts]) for k in ("boxes", "logits"))
    order = torch.sort(logits, descending=True, stable=True).indices[: engine.post_nms_topk]
    boxes = boxes[order]

    read, groups, rows = (damaged if scope == "pyramid" else clean), [], []
    for index, level in enumerate(LEVELS[:4]):
        members = torch.nonzero(pooled_level(boxes) == index).flatten()
        rois = torch.cat([torch.zeros(len(members), 1), boxes[members]], 1)
        groups.append((level, read[level], rois))
        rows.append(members)
    scores, refined = (part[torch.cat(rows).argsort()] for part in engine.score(groups))
    assert scores.shape == (len(boxes), engine.num_classes + 1)
    assert torch.allclose(scores.sum(1), torch.ones(len(boxes)))
    found, _ = fast_rcnn_inference_single_image(
        refined,
        scores,
        batch.image_sizes[0],
        engine.score_threshold,
        engine.nms_threshold,
        engine.detections_per_image,
    )
    placed = to_image(found.pred_boxes.tensor, batch.image_sizes[0], image.image_size)

    with patch_rpn(engine.model, ratios, scope):
        wanted = engine.detect(image)
    solid = ((placed[:, 2:] - placed[:, :2]) > 0).all(1)
    assert len(wanted["scores"]) > 20
    assert np.allclose(placed[solid].numpy(), wanted["boxes"], atol=1e-4)
    assert np.allclose(found.scores[solid].numpy(), wanted["scores"], atol=1e-6)
    assert np.array_equal(found.pred_classes[solid].numpy(), wanted["classes"])


def test_a_level_takes_its_own_anchors(engine, photo):
    batch = engine.batch([engine.read(photo)])
    maps = engine.pyramid(batch)
    images = {level: engine.level_proposals(batch, level, maps[level])[0] for level in LEVELS}
    sides = [(p.boxes[:, 2:] - p.boxes[:, :2]).amax().item() for p in images.values()]
    assert sides[0] < sides[1] < sides[2]  # P2's anchors are the smallest


def test_detects_the_same_after_its_parts_ran(engine, photo):
    image = engine.read(photo)
    before = engine.detect(image)
    engine.pyramid(engine.batch([image]))
    assert all(np.array_equal(before[key], value) for key, value in engine.detect(image).items())


@pytest.mark.parametrize(
    "opts, reason",
    [
        ([], None),
        (["MODEL.MASK_ON", True], None),
        (["MODEL.KEYPOINT_ON", True], None),
        (["MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE", True], "sigmoid"),
    ],
)
def test_says_why_settings_cannot_share_work(tiny_engine, opts, reason):
    said = tiny_engine(opts).factorises()
    assert said is None if reason is None else reason in said


def test_a_configuration_that_cannot_be_built_is_one_line(tiny_engine):
    with pytest.raises(InputError, match="no_such_backbone"):
        tiny_engine(["MODEL.BACKBONE.NAME", "no_such_backbone"])
