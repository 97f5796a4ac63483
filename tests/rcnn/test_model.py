import pytest
import torch

from detectron2_patch.rcnn.model import FasterRCNN, to_image
from detectron2_patch.rcnn.pooler import pooled_level
from detectron2_patch.rcnn.structures import Detections, ImageBatch, Targets
from detectron2_patch.settings.levels import LEVELS


def test_pyramid_has_the_strides_of_its_levels(small_model):
    pyramid = small_model.backbone(torch.rand(1, 3, 96, 160))
    shapes = {level: tuple(x.shape[-2:]) for level, x in pyramid.items()}
    assert shapes == {"p2": (24, 40), "p3": (12, 20), "p4": (6, 10), "p5": (3, 5), "p6": (2, 3)}
    assert torch.equal(pyramid["p6"], pyramid["p5"][:, :, ::2, ::2])


def test_images_are_padded_at_the_right_and_the_bottom():
    batch = ImageBatch.stack([torch.ones(3, 30, 40), torch.ones(3, 33, 20)], 32)
    assert batch.tensor.shape == (2, 3, 64, 64)
    assert batch.image_sizes == [(30, 40), (33, 20)]
    assert batch.tensor[0].sum() == 3 * 30 * 40 and batch.tensor[0, :, 30:].sum() == 0


@pytest.mark.parametrize(
    "side, level", [(10, "p2"), (111, "p2"), (112, "p3"), (224, "p4"), (448, "p5"), (2000, "p5")]
)
def test_boxes_are_pooled_by_their_size(side, level):
    assert LEVELS[pooled_level(torch.tensor([[0.0, 0.0, side, side]])).item()] == level


def test_levels_alone_and_merged_are_the_whole_rpn(small_model):
    batch = small_model.preprocess([torch.rand(3, 128, 128) * 255])
    features = small_model.backbone(batch.tensor)
    rpn = small_model.proposal_generator
    (whole,), _ = rpn(batch, features)
    parts = [rpn.level_proposals(k, features[k], batch.image_sizes)[0] for k in LEVELS]
    merged = rpn.merge(parts)
    assert len(whole) == 60
    assert torch.equal(merged.boxes, whole.boxes) and torch.equal(merged.logits, whole.logits)


def test_merge_breaks_ties_by_level_then_rank(small_model):
    from detectron2_patch.rcnn.structures import Proposals

    def part(number, logits):
        boxes = torch.full((len(logits), 4), float(number))
        return Proposals(boxes + torch.arange(len(logits))[:, None] / 10, torch.tensor(logits))

    merged = small_model.proposal_generator.merge([part(2, [3.0, 1.0]), part(3, [3.0, 1.0, 1.0])])
    assert merged.boxes[:, 0].tolist() == pytest.approx([2.0, 3.0, 2.1, 3.1, 3.2])


@torch.no_grad()
def test_a_batch_equals_its_images_one_by_one(small_model):
    images = [torch.rand(3, 96, 128) * 255 for _ in range(3)]
    for together, image in zip(small_model(images), images):
        (alone,) = small_model([image])
        assert len(alone) == len(together)
        torch.testing.assert_close(alone.boxes, together.boxes, atol=1e-3, rtol=1e-4)


def test_class_agnostic_boxes(small_cfg):
    torch.manual_seed(0)
    model = FasterRCNN(small_cfg({"MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True})).eval()
    heads = model.roi_heads
    assert heads.box_predictor.bbox_pred.out_features == 4
    scores = torch.tensor([[0.6, 0.3, 0.02, 0.08], [0.1, 0.04, 0.8, 0.06]])  # background last
    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [20.0, 20.0, 90.0, 90.0]])
    found = heads.select(scores, boxes, (64, 64))
    assert found.classes.tolist() == [2, 0, 1, 0]
    assert found.scores.tolist() == pytest.approx([0.8, 0.6, 0.3, 0.1])
    assert found.boxes[0].tolist() == [20, 20, 64, 64]


@pytest.mark.parametrize("rows", [0, 2])
def test_no_detection_is_an_answer(small_model, rows):
    scores, boxes = torch.full((rows, 4), float("nan")), torch.rand(rows, 12)
    found = small_model.roi_heads.select(scores, boxes, (64, 64))
    assert (found.boxes.shape, found.scores.shape) == ((0, 4), (0,))


def test_detections_return_to_the_images_pixels():
    boxes = torch.tensor([[0.0, 0.0, 20.0, 10.0], [39.0, 5.0, 60.0, 8.0], [41.0, 0.0, 50.0, 9.0]])
    found = to_image(Detections(boxes, torch.ones(3), torch.arange(3)), (20, 40), (10, 20))
    assert found.boxes.tolist() == [[0, 0, 10, 5], [19.5, 2.5, 20, 4]]  # the third lies outside
    assert found.classes.tolist() == [0, 1]


@pytest.mark.parametrize("objects", [0, 2])
def test_losses_are_finite_and_reach_every_trained_parameter(small_cfg, objects):
    torch.manual_seed(0)
    model = FasterRCNN(small_cfg({"MODEL.BACKBONE.FREEZE_AT": 0})).train()
    boxes = torch.tensor([[8.0, 8.0, 40.0, 40.0], [0.0, 30.0, 90.0, 100.0]])[:objects]
    target = Targets(boxes, torch.tensor([0, 2])[:objects])
    losses = model([torch.rand(3, 128, 128) * 255], [target])
    assert set(losses) == {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg"}
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total)
    grads = [p.grad for p in model.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in grads)


def test_frozen_stages_do_not_train(small_cfg):
    model = FasterRCNN(small_cfg({"MODEL.BACKBONE.FREEZE_AT": 2}))
    bottom_up = model.backbone.bottom_up
    assert not any(p.requires_grad for p in bottom_up.stem.parameters())
    assert not any(p.requires_grad for p in bottom_up.res2.parameters())
    assert all(p.requires_grad for p in bottom_up.res3.parameters())
