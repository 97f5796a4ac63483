"""Numbers beside points: none covers another, each has a line to its point."""

from __future__ import annotations

import math
from collections.abc import Sequence

from detectron2_patch.report.figures.style import RED

RADIUS = 8.5  # of a number's circle, in points of type
DISTANCES = (13, 19, 26, 34, 44, 56, 70, 86)  # from the point, in points of type, the nearest first
ANGLES = 24
Place = tuple[float, float]


def number_points(canvas, panels: Sequence, points: Sequence[Place]) -> None:
    """Number ``points``, in data coordinates, from 1 in each panel that shows them.

    The figure is laid out first, and its layout kept: where there is room is known in pixels.
    """
    canvas.draw_without_rendering()
    canvas.set_layout_engine("none")
    scale = 72 / canvas.dpi
    for panel in panels:
        box = panel.get_window_extent()
        corners = [(box.x0 * scale, box.y0 * scale), (box.x1 * scale, box.y1 * scale)]
        shown = {
            number: (x * scale, y * scale)
            for number, point in enumerate(points, start=1)
            for x, y in [panel.transData.transform(point)]
            if box.x0 - 1 <= x <= box.x1 + 1 and box.y0 - 1 <= y <= box.y1 + 1
        }
        places = place_beside(list(shown.values()), *corners)
        for (number, (x, y)), (to_x, to_y) in zip(shown.items(), places):
            panel.annotate(
                str(number),
                points[number - 1],
                (to_x - x, to_y - y),
                textcoords="offset points",
                fontsize=9,
                ha="center",
                va="center",
                bbox={"boxstyle": "circle,pad=0.22", "fc": "white", "ec": RED, "lw": 0.9},
                arrowprops={"arrowstyle": "-", "color": RED, "lw": 0.7, "shrinkA": 0, "shrinkB": 0},
            )


def place_beside(points: Sequence[Place], low: Place, high: Place) -> list[Place]:
    """Centres of circles beside ``points``, within the corners: near, and clear of one another and
    of all points as far as there is room."""
    places: list[Place] = []
    for point in points:
        tried = [
            (point[0] + far * math.cos(turn), point[1] + far * math.sin(turn))
            for far in DISTANCES
            for i in range(ANGLES)
            for turn in [math.pi / 4 + 2 * math.pi * i / ANGLES]
        ]
        places.append(
            min(tried, key=lambda place: _badness(place, point, points, places, low, high))
        )
    return places


def _badness(place, point, points, places, low, high) -> tuple[float, float]:
    """How far a circle reaches into others, into points or out of the panel; then the distance."""
    into = sum(max(0.0, 2 * RADIUS + 1 - math.dist(place, other)) for other in places)
    into += sum(max(0.0, RADIUS + 2 - math.dist(place, other)) for other in points) / 4
    for at, least, most in zip(place, low, high):
        into += max(0.0, least + RADIUS - at, at - (most - RADIUS))
    return round(into, 3), round(math.dist(place, point), 3)
