"""The maps of one image as a picture: as the backbone made them, as sent, and as restored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from detectron2_patch.codec.fitted import Fitted
from detectron2_patch.codec.resample import shrink
from detectron2_patch.codec.transmission import Channel
from detectron2_patch.settings.treatments import Restored, Sent, Treatment, is_sent

# Points of viridis (matplotlib, CC0), which rises evenly in greyscale and for colour-blind readers.
_VIRIDIS = np.array(
    [
        [68, 1, 84],
        [71, 44, 122],
        [59, 81, 139],
        [44, 113, 142],
        [33, 144, 141],
        [39, 173, 129],
        [92, 200, 99],
        [170, 220, 50],
        [253, 231, 37],
    ]
)
_HEAD, _GAP, _NAME = 30, 8, 150  # pixels: above the panels, between them, and left of them
_BAR = 64  # right of them: the colour bar of a row and its ends


def strength(feature: Tensor) -> np.ndarray:
    """Root mean square over the channels of a map ``(1, C, H, W)``: ``(H, W)``."""
    return feature[0].float().square().mean(0).sqrt().cpu().numpy()


def compare_maps(
    pixels: np.ndarray,
    before: Mapping[str, Tensor],
    sent: Mapping[str, Tensor | None],
    after: Mapping[str, Tensor],
    title: str,
    part: tuple[float, float] = (1.0, 1.0),
    side: int = 256,
    treatments: Mapping[str, Treatment] | None = None,
) -> Image.Image:
    """A row a level: its map before, what is sent, what the receiver makes of that, what is lost.

    Shown is the root mean square over the channels, of the last column that of the difference. A
    row has one colour scale, which its bar shows: black-violet is 0, yellow the strength that a
    tenth of the map before exceeds.

    Args:
        pixels: the image, uint8 RGB ``(H, W, 3)``.
        before, after: level to map ``(1, C, h, w)``.
        sent: the same, with None for a level that isn't sent.
        part: the share of the maps' height and width that the image fills; the rest is padding.
        side: length of a panel's longer side in pixels.
        treatments: of each level, told beside it.
    """
    size = _fit(pixels, side)
    columns = ("before", "as sent", "as restored", "lost (before - restored)")
    step = (max(size[0], 150) + _GAP, max(size[1], 190) + _GAP)
    whole = (_NAME + len(columns) * step[0] + _BAR, 2 * _HEAD + len(before) * step[1])
    picture = Image.new("RGB", whole, "#202020")
    draw = ImageDraw.Draw(picture)
    draw.text((8, 6), title, fill="white", font=ImageFont.load_default(15))
    for i, name in enumerate(columns):
        draw.text(
            (_NAME + i * step[0], _HEAD + 6), name, fill="white", font=ImageFont.load_default(14)
        )
    for row, level in enumerate(before):
        top = 2 * _HEAD + row * step[1]
        draw.text(
            (8, top),
            _describe(level, before[level], sent[level], (treatments or {}).get(level)),
            fill="white",
            font=ImageFont.load_default(12),
            spacing=3,
        )
        bright = float(np.quantile(strength(before[level]), 0.9))
        lost = before[level] - after[level]
        for i, feature in enumerate((before[level], sent[level], after[level], lost)):
            place = (_NAME + i * step[0], top)
            picture.paste(_panel(feature, bright, part, size), place)
        _colour_bar(picture, (_NAME + len(columns) * step[0], top), size[1], bright)
    thumbnail = Image.fromarray(np.ascontiguousarray(pixels)).resize(_fit(pixels, _NAME - 16))
    picture.paste(thumbnail, (8, 2 * _HEAD + step[1] - _GAP - thumbnail.height))
    return picture


def _fit(pixels: np.ndarray, side: int) -> tuple[int, int]:
    """``(width, height)`` of an image whose longer side becomes ``side``."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _describe(level: str, before: Tensor, sent: Tensor | None, treatment: Treatment | None) -> str:
    _, channels, height, width = before.shape
    lines = [level.upper(), f"{channels} channels", f"of {height}x{width}"]
    if sent is None:
        lines.append("not sent")
    elif sent.shape != before.shape:
        lines += [
            f"sent: {sent.shape[2]}x{sent.shape[3]},",
            f"{before.numel() / sent.numel():.3g} times fewer",
        ]
    return "\n".join([*lines, *what_was_sent(treatment)])


def what_was_sent(one: Treatment | None) -> list[str]:
    """A treatment as lines beside its map; the ratio is told by the map's size."""
    if isinstance(one, Restored):
        return [
            "made from " + " ".join(source.upper() for source, _ in one.sources),
            f"({one.how})",
        ]
    if not isinstance(one, Sent):
        return [] if one is None else [f"sent: {one.word}"]
    lines = [f"sent: {one.rank} components"] if one.rank else []
    lines += [f"sent: {one.bits} bits,", f"range of a {one.range}"] if one.bits else []
    return lines or ["sent as float32"]


def _colour_bar(picture: Image.Image, place: tuple[int, int], height: int, bright: float) -> None:
    """The scale of a row: 0 at its foot, the strength that yellow stands for on top."""
    bar = torch.linspace(bright, 0, height).reshape(1, 1, height, 1)
    picture.paste(_panel(bar, bright, (1.0, 1.0), (12, height)), place)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(11)
    left = place[0] + 16
    draw.text((left, place[1]), f"{bright:.3g}", fill="white", font=font)
    draw.text((left, place[1] + height), "0", fill="white", font=font, anchor="ls")


def _panel(
    feature: Tensor | None, bright: float, part: tuple[float, float], size: tuple[int, int]
) -> Image.Image:
    """One map in false colours, each of its elements a flat rectangle; grey where there is none."""
    if feature is None:
        return Image.new("RGB", size, "#404040")
    places = np.clip(strength(feature) / (bright or 1.0), 0, 1) * (len(_VIRIDIS) - 1)
    colours = np.stack(
        [np.interp(places, range(len(_VIRIDIS)), channel) for channel in _VIRIDIS.T], axis=-1
    )
    image = Image.fromarray(colours.round().astype(np.uint8))
    box = (0, 0, image.width * part[1], image.height * part[0])
    return image.resize(size, Image.Resampling.NEAREST, box=box)


def sent_and_restored(
    before: Mapping[str, Tensor], treatments: Mapping[str, Treatment], fitted: Fitted | None = None
) -> tuple[dict[str, Tensor | None], dict[str, Tensor]]:
    """What crosses the wire of each clean map ``(1, C, H, W)``, and what the receiver has.

    What crosses is shown with all channels, as it is before it is stretched; None: not sent.
    """
    shrunk = {
        level: shrink(x, one.ratio) if isinstance(one := treatments[level], Sent) else x
        for level, x in before.items()
    }
    wire, receiver = (Channel(maps, fitted, counted=()) for maps in (shrunk, before))
    sent = {
        level: wire.map(level, replace(one, ratio=1.0) if isinstance(one, Sent) else one)
        if is_sent(one)
        else None
        for level, one in treatments.items()
    }
    return sent, {level: receiver.map(level, one) for level, one in treatments.items()}


def image_part(tensor: Tensor, padded: torch.Size) -> tuple[float, float]:
    """The share of a padded batch's height and width that an image ``(3, h, w)`` fills."""
    return tensor.shape[-2] / padded[-2], tensor.shape[-1] / padded[-1]
