"""Detections on the clean and on the damaged pyramid, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torchvision.ops import box_iou

# Colours that stay apart in greyscale and for colour-blind readers (Okabe and Ito 2008).
BOTH, LOST, NEW = "#56B4E9", "#E69F00", "#FFFFFF"
SAME = 0.5  # IoU from which two detections of one class are the same object

Detections = Mapping[str, np.ndarray]


def without_counterpart(ones: Detections, others: Detections) -> np.ndarray:
    """Mask ``(n,)`` of ``ones`` that no detection of ``others`` matches by class and IoU."""
    if len(others["boxes"]) == 0 or len(ones["boxes"]) == 0:
        return np.ones(len(ones["boxes"]), dtype=bool)
    iou = box_iou(torch.from_numpy(ones["boxes"]), torch.from_numpy(others["boxes"])).numpy()
    same_class = ones["classes"][:, None] == others["classes"][None, :]
    return (iou * same_class).max(axis=1) < SAME


def compare(
    pixels: np.ndarray,
    clean: Detections,
    damaged: Detections,
    classes: Sequence[str] | None,
    title: str,
    side: int = 512,
) -> Image.Image:
    """Two panels of one image: what the clean pyramid finds, and what the damaged one finds.

    Lost objects are marked on the left, new ones on the right; in both cases dashed.

    Args:
        pixels: uint8 RGB ``(H, W, 3)``.
        clean, damaged: ``boxes`` (n, 4) in the image's pixels, ``scores`` and ``classes`` (n,).
        side: length of a panel's longer side in pixels.
    """
    lost, new = without_counterpart(clean, damaged), without_counterpart(damaged, clean)
    left = _panel(pixels, clean, lost, LOST, classes, side)
    right = _panel(pixels, damaged, new, NEW, classes, side)
    head = 26
    picture = Image.new("RGB", (left.width + right.width + 8, left.height + head), "#202020")
    picture.paste(left, (0, head))
    picture.paste(right, (left.width + 8, head))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    draw.text((6, 4), f"clean: {len(lost)} objects, {lost.sum()} lost on the right (dashed)",
              fill="white", font=font)
    draw.text((left.width + 14, 4), f"{title}: {len(new)} objects, {new.sum()} new (dashed)",
              fill="white", font=font)
    return picture


def _panel(
    pixels: np.ndarray,
    detections: Detections,
    marked: np.ndarray,
    colour: str,
    classes: Sequence[str] | None,
    side: int,
) -> Image.Image:
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = (round(width * scale), round(height * scale))
    panel = Image.fromarray(np.ascontiguousarray(pixels)).resize(size)
    draw, font = ImageDraw.Draw(panel), ImageFont.load_default(12)
    for box, kind, score, mark in zip(
        detections["boxes"] * scale, detections["classes"], detections["scores"], marked
    ):
        x1, y1, x2, y2 = box.tolist()
        ink = colour if mark else BOTH
        _rectangle(draw, (x1, y1, x2, y2), ink, dashed=bool(mark))
        name = str(kind) if classes is None else classes[kind]
        place = draw.textbbox((x1 + 2, max(0, y1 - 14)), f"{name} {score:.2f}", font=font)
        draw.rectangle(place, fill="#202020")
        draw.text(place[:2], f"{name} {score:.2f}", fill=ink, font=font, anchor="la")
    return panel


def _rectangle(draw: ImageDraw.ImageDraw, box: tuple, colour: str, dashed: bool) -> None:
    x1, y1, x2, y2 = box
    for (ax, ay), (bx, by) in (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)),
                               ((x2, y2), (x1, y2)), ((x1, y2), (x1, y1))):
        pieces = max(1, int((abs(bx - ax) + abs(by - ay)) // 6)) if dashed else 1
        for piece in range(0, pieces, 2 if dashed else 1):
            start, end = piece / pieces, min(1.0, (piece + 1) / pieces)
            draw.line((ax + (bx - ax) * start, ay + (by - ay) * start,
                       ax + (bx - ax) * end, ay + (by - ay) * end), fill=colour, width=2)
