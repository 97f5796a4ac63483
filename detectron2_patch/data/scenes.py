"""Synthetic scenes: textured objects of six classes on textured ground, pixel by pixel alike
on every machine.

All randomness comes from ``RandomState.random_sample``, whose stream NumPy has frozen, and all
arithmetic is + - * / and sqrt on float64, which IEEE 754 fixes to the last bit. Sines, powers and
exponentials differ between processors, so none is used; turns come from a table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

SIDE = 256  # pixels, both ways
VISIBLE = 0.65  # no object is covered beyond this share of its own area
# cosine and sine of 0, 12.7 and 22.6 degrees, exact by Pythagorean triples
TURNS = [(1.0, 0.0), (40 / 41, 9 / 41), (12 / 13, 5 / 13)]
# shortest and longest extent in pixels, share of the objects
SIZES = [
    ((12, 22), 0.17),
    ((22, 36), 0.17),
    ((48, 104), 0.26),
    ((120, 200), 0.30),
    ((228, 262), 0.10),
]

Mask = np.ndarray
Shape = Callable[[np.ndarray, np.ndarray], Mask]

# Inside or outside at (u, v), each from -1 to 1.
SHAPES: dict[str, Shape] = {
    "disc": lambda u, v: u * u + v * v <= 1,
    "ring": lambda u, v: (u * u + v * v <= 1) & (u * u + v * v >= 0.3),
    "square": lambda u, v: np.maximum(abs(u), abs(v)) <= 0.9,
    "triangle": lambda u, v: (v <= 0.85) & (abs(u) <= (v + 1) * 0.54),
    "cross": lambda u, v: (np.minimum(abs(u), abs(v)) <= 0.33) & (np.maximum(abs(u), abs(v)) <= 1),
    "bar": lambda u, v: (abs(u) <= 1) & (abs(v) <= 0.38),
}
CLASSES = tuple(SHAPES)
# The colour around which a class's own colours scatter.
HUES = [
    (205, 75, 60),
    (225, 175, 50),
    (70, 110, 205),
    (80, 170, 80),
    (170, 80, 190),
    (70, 190, 195),
]


@dataclass(frozen=True)
class Drawn:
    """One object on the canvas: its class and how many pixels its whole shape has."""

    kind: int
    area: int


class Draw:
    """Random numbers of one scene."""

    def __init__(self, seed: int) -> None:
        self.state = np.random.RandomState(seed)

    def uniform(self, low: float, high: float, *shape: int) -> Any:
        """A number from ``low`` to ``high``, or an array ``shape`` of them."""
        return low + (high - low) * self.state.random_sample(shape or None)

    def integer(self, count: int) -> int:
        return int(self.state.random_sample() * count)


_FIRST_SEED = {"train": 1_000_000, "val": 2_000_000, "test": 3_000_000, "unlabeled": 4_000_000}


def render(split: str, index: int) -> tuple[np.ndarray, list[dict]]:
    """One scene: uint8 pixels ``(256, 256, 3)`` RGB and its objects.

    An object has ``category`` (index into ``CLASSES``), ``bbox`` (x, y, w, h around its visible
    pixels) and ``area`` (how many those are).
    """
    draw = Draw(_FIRST_SEED[split] + index)
    canvas = background(draw)
    owner = np.full((SIDE, SIDE), -1)
    drawn: list[Drawn] = []
    for extent in sorted(sizes(draw), reverse=True):  # small ones lie in front
        kind = draw.integer(len(CLASSES))
        for _ in range(12):
            mask, u, v = place(draw, kind, extent)
            if fits(mask, owner, drawn):
                canvas[mask] = paint(draw, kind, extent, u[mask], v[mask])
                owner[mask] = len(drawn)
                drawn.append(Drawn(kind, int(mask.sum())))
                break
    noise = draw.uniform(-5, 5, SIDE, SIDE, 1)
    return np.clip(canvas + noise, 0, 255).astype(np.uint8), describe(owner, drawn)


def sizes(draw: Draw) -> list[float]:
    """Extents of three to nine objects; at most one of the largest kind."""
    extents: list[float] = []
    for _ in range(3 + draw.integer(7)):
        low, high = pick_size(draw.uniform(0, 1))
        if low < 200 or all(extent < 200 for extent in extents):
            extents.append(draw.uniform(low, high))
    return extents


def pick_size(chance: float) -> tuple[int, int]:
    """The entry of ``SIZES`` at ``chance``, from 0 to 1, along their shares."""
    for extents, share in SIZES:
        chance -= share
        if chance < 0:
            return extents
    return SIZES[-1][0]


def place(draw: Draw, kind: int, extent: float) -> tuple[Mask, np.ndarray, np.ndarray]:
    """A mask ``(256, 256)`` of the shape somewhere on the canvas, and its own coordinates."""
    cosine, sine = TURNS[draw.integer(len(TURNS))] if extent < 200 else TURNS[0]
    stretch = draw.uniform(0.85, 1.18) if extent < 200 else 1.0
    half = extent / 2
    margin = min(0.45 * extent, SIDE / 2)  # hardly over the border
    x, y = draw.uniform(margin, SIDE - margin), draw.uniform(margin, SIDE - margin)
    if extent >= 200:
        x, y = SIDE / 2 + draw.uniform(-8, 8), SIDE / 2 + draw.uniform(-8, 8)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    dx, dy = (columns - x) / half, (rows - y) / half
    u = (cosine * dx + sine * dy) * stretch
    v = (cosine * dy - sine * dx) / stretch
    return SHAPES[CLASSES[kind]](u, v), u, v


def fits(mask: Mask, owner: np.ndarray, drawn: list[Drawn]) -> bool:
    """Whether the shape has pixels and leaves enough of all that lies below it."""
    if mask.sum() < 30:
        return False
    remaining = np.bincount(owner[~mask] + 1, minlength=len(drawn) + 1)[1:]
    return all(left >= VISIBLE * one.area for left, one in zip(remaining, drawn))


def paint(draw: Draw, kind: int, extent: float, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Colours ``(n, 3)`` at the shape's coordinates: two tones in the class's texture."""
    base = np.array(HUES[kind]) + draw.uniform(-30, 30, 3)
    contrast = draw.uniform(0.76, 0.9)
    cells = max(2.0, min(6.0, extent / 12)) * draw.uniform(0.8, 1.2)
    along, across = np.floor((u + 1) * cells), np.floor((v + 1) * cells)
    pattern = (across, along + across, along, 0 * along)[kind % 4]
    dark = pattern % 2 == 1
    shade = 1.0 - 0.18 * (u + v)  # lit from one side
    return base * (np.where(dark, contrast, 1.0) * shade)[:, None]


def background(draw: Draw) -> np.ndarray:
    """Two muted colours mixed by noise of three scales, with streaks and patches that are no
    objects: float64 ``(256, 256, 3)``."""
    low, high = draw.uniform(40, 215, 3), draw.uniform(40, 215, 3)
    grey = draw.uniform(0.4, 0.8)
    low, high = (c * (1 - grey) + c.mean() * grey for c in (low, high))
    mix: Any = sum(
        weight * value_noise(draw, cells) for cells, weight in ((4, 0.5), (16, 0.3), (64, 0.2))
    )
    canvas = low + (high - low) * mix[:, :, None]
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    for _ in range(4 + draw.integer(6)):
        cosine, sine = TURNS[draw.integer(len(TURNS))]
        x, y = draw.uniform(0, SIDE, 2)
        along = cosine * (columns - x) + sine * (rows - y)
        across = cosine * (rows - y) - sine * (columns - x)
        length, width = draw.uniform(10, 90), draw.uniform(1, 7)
        streak = (abs(along) < length) & (abs(across) < width * value_noise(draw, 8))
        canvas[streak] += draw.uniform(-45, 45)
    return canvas


def value_noise(draw: Draw, cells: int) -> np.ndarray:
    """Random values on a grid of ``cells`` each way, joined bilinearly: ``(256, 256)``, 0 … 1."""
    grid = draw.uniform(0, 1, cells + 1, cells + 1)
    position = np.arange(SIDE) * cells / SIDE
    cell = position.astype(int)
    part = position - cell
    rows = grid[cell] * (1 - part)[:, None] + grid[cell + 1] * part[:, None]
    return rows[:, cell] * (1 - part) + rows[:, cell + 1] * part


def describe(owner: np.ndarray, drawn: list[Drawn]) -> list[dict]:
    """Category, box and area of each object's visible pixels."""
    objects = []
    for number, one in enumerate(drawn):
        rows, columns = np.nonzero(owner == number)
        x, y = int(columns.min()), int(rows.min())
        width, height = int(columns.max()) + 1 - x, int(rows.max()) + 1 - y
        objects.append({"category": one.kind, "bbox": [x, y, width, height], "area": len(rows)})
    return objects
