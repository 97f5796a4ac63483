"""The built-in detector beside real detectron2, weight for weight, on real photographs.

Random weights, with batch norm fitted to the photographs so that activations, and with them
scores and boxes, spread as in a trained model. Run with ``-s`` to see the counts.
"""

import json

import pytest
import torch

detectron2 = pytest.importorskip(
    "detectron2", reason="compares with real detectron2, which is not installed here"
)

from detectron2.config import get_cfg  # noqa: E402
from detectron2.data import transforms  # noqa: E402
from detectron2.data.detection_utils import read_image  # noqa: E402
from detectron2.modeling import build_model  # noqa: E402

from detectron2_patch.config import load_cfg  # noqa: E402
from detectron2_patch.data.coco import load_coco  # noqa: E402
from detectron2_patch.engines.torchvision import TorchvisionEngine  # noqa: E402
from detectron2_patch.evaluation.coco import CocoEvaluator  # noqa: E402

CONFIGS = ["faster_rcnn_R_50_FPN_3x", "faster_rcnn_X_101_32x8d_FPN_3x"]
BOX_GAP, SCORE_GAP = 0.01, 1e-4  # pixels, probability
PER_IMAGE = 50


def dataset_of(folder):
    json_file = folder / "coco" / "annotations" / "instances_val2017.json"
    dataset = load_coco("coco_2017_val", json_file, folder / "coco" / "val2017")
    assert len(dataset.images) == 24
    return dataset


def detectron2_input(cfg, path):
    pixels = read_image(path, cfg.INPUT.FORMAT)
    resize = transforms.ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TEST] * 2, cfg.INPUT.MAX_SIZE_TEST)
    resized = resize.get_transform(pixels).apply_image(pixels)
    image = torch.as_tensor(resized.astype("float32").transpose(2, 0, 1).copy())
    return {"image": image, "height": pixels.shape[0], "width": pixels.shape[1]}


@torch.no_grad()
def fit_norms(model, inputs):
    """Fill the frozen norms with the statistics of the images, layer after layer."""
    kind = type(model.backbone.bottom_up.stem.conv1.norm)
    norms = [m for m in model.modules() if isinstance(m, kind)]
    for norm in norms:

        def fit(module, args):
            module.running_mean.copy_(args[0].mean((0, 2, 3)))
            module.running_var.copy_(args[0].var((0, 2, 3)) + 1e-3)

        norm.hook = norm.register_forward_pre_hook(fit)
    model.backbone(model.preprocess_image(inputs).tensor)
    for norm in norms:
        norm.hook.remove()


@torch.no_grad()
def spread_outputs(model, inputs):
    """Scale the predicting layers to the spread that a trained detector's outputs have."""
    rpn, predictor = model.proposal_generator.rpn_head, model.roi_heads.box_predictor
    for layer, spread in [
        (rpn.objectness_logits, 2.0),
        (rpn.anchor_deltas, 0.3),
        (predictor.cls_score, 2.5),
        (predictor.bbox_pred, 1.0),
    ]:
        seen = []
        handle = layer.register_forward_hook(
            lambda module, args, output, seen=seen: seen.append(output.std())
        )
        model(inputs)
        handle.remove()
        layer.weight.mul_(spread / torch.stack(seen).mean())


def unmatched(wanted, found):
    """How many boxes of ``wanted`` have no counterpart, and the largest gaps of those that do.

    Of several boxes in one place, such as those of two levels clipped to the whole image, the
    counterpart is the one of nearest score.
    """
    flips, box_gap, score_gap = 0, 0.0, 0.0
    boxes, scores, classes = wanted
    for box, score, kind in zip(boxes, scores, classes):
        near = (found[0] - box).abs().amax(1)
        gaps = (found[1] - score).abs()
        gaps[(found[2] != kind) | (near > BOX_GAP)] = torch.inf
        best = gaps.argmin() if len(gaps) else None
        if best is None or gaps[best] > SCORE_GAP:
            flips += 1
            continue
        box_gap = max(box_gap, near[best].item())
        score_gap = max(score_gap, (found[1][best] - score).abs().item())
    return flips, box_gap, score_gap


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_same_pyramid_proposals_and_detections(name, photographs):
    dataset = dataset_of(photographs)
    paths = [dataset.image_path(image) for image in dataset.images]
    reference_cfg = get_cfg()
    reference_cfg.merge_from_file(f"configs/COCO-Detection/{name}.yaml")
    reference_cfg.MODEL.DEVICE = "cpu"
    torch.manual_seed(0)
    reference = build_model(reference_cfg).eval()
    first = [detectron2_input(reference_cfg, paths[0])]
    fit_norms(reference, first)
    spread_outputs(reference, first)

    engine = TorchvisionEngine(load_cfg(f"configs/COCO-Detection/{name}.yaml"), "cpu")
    state = {k: v for k, v in reference.state_dict().items() if "cell_anchors" not in k}
    state = {k: v for k, v in state.items() if not k.startswith("pixel_")}
    engine.model.load_state_dict(state)

    total, flips, box_gap, score_gap, differing_proposals, all_found = 0, 0, 0.0, 0.0, 0, []
    for image, path in zip(dataset.images, paths):
        theirs, ours = detectron2_input(reference_cfg, path), engine.read(path)
        assert torch.equal(theirs["image"], ours.tensor), path.name
        images = reference.preprocess_image([theirs])
        batch = engine.model.preprocess([ours.tensor])
        features, pyramid = reference.backbone(images.tensor), engine.model.backbone(batch.tensor)
        assert all(torch.equal(features[level], pyramid[level]) for level in features), path.name

        (wanted,), _ = reference.proposal_generator(images, features, None)
        (found,), _ = engine.model.proposal_generator(batch, pyramid)
        assert len(wanted) == len(found) == 1000
        differing_proposals += unmatched(
            (wanted.proposal_boxes.tensor, wanted.objectness_logits, torch.zeros(1000)),
            (found.boxes, found.logits, torch.zeros(1000)),
        )[0]

        instances = reference([theirs])[0]["instances"]
        detections = engine.detect(ours)
        all_found.append({"image_id": image["id"], **detections})
        assert len(instances) >= PER_IMAGE, f"{path.name}: {len(instances)} detections"
        part = unmatched(
            (instances.pred_boxes.tensor, instances.scores, instances.pred_classes),
            tuple(torch.from_numpy(detections[k]) for k in ("boxes", "scores", "classes")),
        )
        total += len(instances)
        flips += part[0] + abs(len(instances) - len(detections["boxes"]))
        box_gap, score_gap = max(box_gap, part[1]), max(score_gap, part[2])
    print(
        json.dumps(
            {
                "config": name,
                "images": len(paths),
                "detections": total,
                "flips": flips,
                "proposals": 1000 * len(paths),
                "differing_proposals": differing_proposals,
                "largest_box_gap_px": box_gap,
                "largest_score_gap": score_gap,
            }
        )
    )
    assert flips <= total / 10_000
    assert differing_proposals <= 1000 * len(paths) / 10_000
    fast, slow = (
        CocoEvaluator(dataset, name).stats(all_found) for name in ("hotcoco", "pycocotools")
    )
    assert [f"{x:.6f}" for x in fast] == [f"{x:.6f}" for x in slow]
