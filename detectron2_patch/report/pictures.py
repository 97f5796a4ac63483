"""Detections on the clean and on the damaged pyramid, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torchvision.ops import box_iou

# Colours that stay apart in greyscale and for colour-blind readers (Okabe and Ito 2008).
BOTH, LOST, NEW = "#56B4E9", "#E69F00", "#FFFFFF"
LABEL = 15  # height of a label in pixels
NOTHING = "nothing is found in this image"
SAME = 0.5  # IoU from which two detections of one class are the same object

Detections = Mapping[str, np.ndarray]


def without_counterpart(ones: Detections, others: Detections) -> np.ndarray:
    """Mask ``(n,)`` of ``ones`` that have no partner of their class among ``others``.

    Partners are taken by falling IoU, each detection once, so that one object found twice on one
    side isn't two objects found on the other.
    """
    alone = np.ones(len(ones["boxes"]), dtype=bool)
    if len(others["boxes"]) == 0 or len(alone) == 0:
        return alone
    iou = box_iou(torch.from_numpy(ones["boxes"]), torch.from_numpy(others["boxes"])).numpy()
    iou = iou * (ones["classes"][:, None] == others["classes"][None, :])
    while iou.max() >= SAME:
        one, other = np.unravel_index(iou.argmax(), iou.shape)
        alone[one] = False
        iou[one, :] = iou[:, other] = 0
    return alone


def compare(
    pixels: np.ndarray,
    clean: Detections,
    damaged: Detections,
    classes: Sequence[str] | None,
    title: str,
    side: int = 512,
) -> Image.Image:
    """Two panels of one image: what the clean pyramid finds, and what the damaged one finds.

    Lost detections are marked on the left, new ones on the right; in both cases dashed.

    Args:
        pixels: uint8 RGB ``(H, W, 3)``.
        clean, damaged: ``boxes`` (n, 4) in the image's pixels, ``scores`` and ``classes`` (n,).
        side: length of a panel's longer side in pixels.
    """
    lost, new = without_counterpart(clean, damaged), without_counterpart(damaged, clean)
    left = _panel(pixels, clean, lost, LOST, classes, side)
    right = _panel(pixels, damaged, new, NEW, classes, side)
    head = 48
    picture = Image.new("RGB", (left.width + right.width + 8, left.height + head), "#202020")
    picture.paste(left, (0, head))
    picture.paste(right, (left.width + 8, head))
    draw = ImageDraw.Draw(picture)
    of_clean = f"{len(lost)} found, of which {_how_many(lost)} lost on the right (dashed)"
    of_damaged = f"{len(new)} found, of which {_how_many(new)} new (dashed)"
    for x, name, line in (
        (6, "clean pyramid", of_clean if len(lost) else NOTHING),
        (left.width + 14, title, of_damaged if len(new) else NOTHING),
    ):
        _line(draw, (x, 4), name, 15, left.width - 12)
        _line(draw, (x, 26), line, 14, left.width - 12)
    return picture


def _how_many(mask: np.ndarray) -> str:
    """``none is``, ``1 is``, ``2 are``."""
    return f"{mask.sum() or 'none'} {'are' if mask.sum() > 1 else 'is'}"


def _line(draw: ImageDraw.ImageDraw, place: tuple, text: str, size: int, width: int) -> None:
    """White text, smaller where it would be wider than ``width`` pixels."""
    while size > 8 and draw.textlength(text, ImageFont.load_default(size)) > width:
        size -= 1
    draw.text(place, text, fill="white", font=ImageFont.load_default(size))


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
    labels: list[tuple[float, float, float, float]] = []
    texts = []
    for box, kind, score, mark in zip(
        detections["boxes"] * scale, detections["classes"], detections["scores"], marked
    ):
        x1, y1, x2, y2 = box.tolist()
        ink = colour if mark else BOTH
        _rectangle(draw, (x1, y1, x2, y2), ink, dashed=bool(mark))
        name = str(kind) if classes is None else classes[kind]
        text = f"{name} {score:.2f}"
        wanted = x1 + 2, max(0, y1 - LABEL), draw.textlength(text, font), LABEL
        labels.append(_free_place(wanted, labels))
        texts.append((text, ink))
    for (x, y, long, high), (text, ink) in zip(labels, texts):  # no box crosses a label
        draw.rectangle((x, y, x + long, y + high), fill="#202020")
        draw.text((x, y), text, fill=ink, font=font, anchor="la")
    return panel


def _free_place(place: tuple[float, float, float, float], taken: Sequence[tuple]) -> tuple:
    """``(x, y, width, height)``, moved down until it covers none of those taken."""
    x, y, width, height = place
    while any(x < a + w and a < x + width and y < b + h and b < y + height for a, b, w, h in taken):
        y += height
    return x, y, width, height


def _rectangle(draw: ImageDraw.ImageDraw, box: tuple, colour: str, dashed: bool) -> None:
    x1, y1, x2, y2 = box
    for (ax, ay), (bx, by) in (
        ((x1, y1), (x2, y1)),
        ((x2, y1), (x2, y2)),
        ((x2, y2), (x1, y2)),
        ((x1, y2), (x1, y1)),
    ):
        pieces = max(1, int((abs(bx - ax) + abs(by - ay)) // 6)) if dashed else 1
        for piece in range(0, pieces, 2 if dashed else 1):
            start, end = piece / pieces, min(1.0, (piece + 1) / pieces)
            draw.line(
                (
                    ax + (bx - ax) * start,
                    ay + (by - ay) * start,
                    ax + (bx - ax) * end,
                    ay + (by - ay) * end,
                ),
                fill=colour,
                width=2,
            )
