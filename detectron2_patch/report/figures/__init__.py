"""The figures of a report, each in a file of its own; ``draw_all`` draws what the data holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectron2_patch.report.figures import keys, levels, pairs, payload, rate_distortion
from detectron2_patch.report.figures.style import Figure
from detectron2_patch.report.records import Group
from detectron2_patch.settings.levels import SCOPES

NAMES = (
    "rate_distortion_pyramid",
    "payload_pyramid",
    *(f"{kind}_{scope}" for kind in ("levels", "pairs", "key_levels") for scope in SCOPES),
)


def draw_all(group: Group, key_levels: Mapping[str, Any]) -> tuple[list[Figure], list[str]]:
    """The figures, within ``style.style()``, and a sentence for each that can't be drawn.

    Args:
        key_levels: the analysis; empty without one.
    """
    figures, absent = [], []

    def keep(figure: Figure | None, otherwise: str) -> None:
        figures.append(figure) if figure is not None else absent.append(otherwise)

    keep(
        rate_distortion.draw(group),
        "AP against bits per pixel: needs a clean result and two others of one family in scope "
        "pyramid that tell bits per pixel (sweep.py --image jpeg:25 jpeg:75 --scope pyramid)",
    )
    keep(
        payload.draw(group),
        "payload against AP drop: needs a clean result and others in scope pyramid",
    )
    for scope in reversed(group.scopes):
        keep(
            levels.draw(group, scope),
            f"AP against a level's ratio, scope {scope}: no level is "
            "damaged alone (sweep.py --one-at-a-time 2 4 8 max)",
        )
        keep(
            pairs.draw(group, scope),
            f"pairs at full degradation, scope {scope}: needs a clean "
            "result and two levels at max (sweep.py --pairs max)",
        )
        keep(
            keys.draw(group, scope, key_levels),
            f"key levels, scope {scope}: "
            "needs every combination of 1 and max (sweep.py --grid 1 max --bootstrap 1000)",
        )
    return figures, absent
