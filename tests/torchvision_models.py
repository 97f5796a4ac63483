"""torchvision's own detectors with random weights under which they find things."""

import torch
from torchvision.models import detection

MODELS = ("fasterrcnn", "retinanet", "fcos")


def make(name, outputs, picture, size=128):
    """torchvision's ``name``_resnet50_fpn of so many outputs, the background's included, whose
    outputs on ``picture`` ``(3, H, W)`` are spread as a trained detector's."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = getattr(detection, f"{name}_resnet50_fpn")(
        weights=None, weights_backbone=None, num_classes=outputs, min_size=size, max_size=1333
    )
    fit_norms(model, picture)
    liven(model, picture)
    return model.eval()


@torch.no_grad()
def fit_norms(model, picture):
    """The statistics of the picture in the norms, so that maps are in range."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    batch, _ = model.eval().transform([picture])
    model.train().backbone(batch.tensors)
    model.eval()


@torch.no_grad()
def liven(model, picture):
    """Scale the layers that predict, but not so far that scores are all 1."""
    spreads = {"cls_logits": 1.0, "bbox_reg": 0.1, "bbox_pred": 0.1, "cls_score": 1.5}
    spreads |= {"bbox_ctrness": 0.5}
    for name, layer in model.named_modules():
        spread = spreads.get(name.rpartition(".")[2])
        if spread is None or not hasattr(layer, "weight"):
            continue
        seen = []
        handle = layer.register_forward_hook(lambda *a, seen=seen: seen.append(a[2]))
        model([picture])
        handle.remove()
        values = torch.cat([one.flatten() for one in seen])
        ratio = spread / values.std()
        layer.weight.mul_(ratio)
        middle = -2.0 if name.endswith("cls_logits") else 0.0
        layer.bias.fill_(middle - ratio * (values.mean() - layer.bias.mean()))
