"""What a list of settings needs: the treatments of each level, and who reads which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detectron2_patch.ratios import LEVELS
from detectron2_patch.sweep.settings import Setting

POOLED = LEVELS[:4]  # P2 … P5: the maps that the box head pools from


@dataclass(frozen=True)
class Plan:
    """Settings as indices into the treatments of each level. ``S`` settings, ``M`` merges.

    Attributes:
        settings: the ``S`` settings.
        treatments: level to its distinct ratios, ascending.
        merges: ``(M, 5)``, the distinct choices of treatments that the RPN reads; settings that
            differ in scope alone share one.
        merge_of: ``(S,)``, each setting's row of ``merges``.
        box: ``(S, 4)``, the treatment of P2 … P5 that the box head reads: clean in scope ``rpn``.
    """

    settings: tuple[Setting, ...]
    treatments: dict[str, tuple[float, ...]]
    merges: np.ndarray
    merge_of: np.ndarray
    box: np.ndarray

    @property
    def rpn(self) -> np.ndarray:
        """``(S, 5)``: the treatments that the RPN reads in each setting."""
        return self.merges[self.merge_of]


def make_plan(settings: Sequence[Setting]) -> Plan:
    """The plan of at least one setting."""
    ratios = np.array([setting.ratios for setting in settings], dtype=np.float64)
    honest = np.array([setting.scope == "pyramid" for setting in settings])
    treatments, rpn, box = {}, [], []
    for column, level in enumerate(LEVELS):
        values = set(ratios[:, column])
        if level in POOLED and not honest.all():
            values.add(1.0)  # scope rpn: the box head reads the clean map
        treatments[level] = tuple(sorted(values))
        rpn.append(np.searchsorted(treatments[level], ratios[:, column]))
        if level in POOLED:
            clean = np.searchsorted(treatments[level], 1.0)
            box.append(np.where(honest, rpn[-1], clean))
    merges, merge_of = np.unique(np.stack(rpn, axis=1), axis=0, return_inverse=True)
    return Plan(
        tuple(settings), treatments, merges, merge_of.reshape(-1), np.stack(box, axis=1)
    )
