"""What a list of settings needs: the treatments of each level, and who reads which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detectron2_patch.rcnn.pooler import POOLED_LEVELS
from detectron2_patch.settings.setting import Setting
from detectron2_patch.settings.treatments import CLEAN, Treatment


@dataclass(frozen=True)
class Plan:
    """Settings as indices into the treatments of each level. ``S`` settings, ``M`` merges.

    Attributes:
        settings: the ``S`` settings.
        treatments: level to its distinct treatments, in the settings' order.
        merges: ``(M, L)``, the distinct choices of treatments that the RPN reads; settings that
            differ in scope alone share one.
        merge_of: ``(S,)``, each setting's row of ``merges``.
        pooled: the levels that the box head pools from, finest first.
        box: ``(S, Q)``, the treatment of each of these that the box head reads: clean in scope
            ``rpn``.
    """

    settings: tuple[Setting, ...]
    treatments: dict[str, tuple[Treatment, ...]]
    merges: np.ndarray
    merge_of: np.ndarray
    pooled: tuple[str, ...]
    box: np.ndarray

    @property
    def levels(self) -> tuple[str, ...]:
        """The detector's, which all settings share."""
        return self.settings[0].levels

    @property
    def rpn(self) -> np.ndarray:
        """``(S, L)``: the treatments that the RPN reads in each setting."""
        return self.merges[self.merge_of]


def make_plan(settings: Sequence[Setting], pooled: Sequence[str] = POOLED_LEVELS) -> Plan:
    """The plan of at least one setting, for a box head that pools from ``pooled``."""
    honest = np.array([setting.scope == "pyramid" for setting in settings])
    treatments, rpn, box = {}, [], {}
    for column, level in enumerate(settings[0].levels):
        read = [setting.treatments[column] for setting in settings]
        # scope rpn: the box head reads the clean map
        also = [CLEAN] if level in pooled and not honest.all() else []
        number = {one: t for t, one in enumerate(dict.fromkeys([*also, *read]))}
        treatments[level] = tuple(number)
        rpn.append(np.array([number[one] for one in read]))
        if level in pooled:
            box[level] = np.where(honest, rpn[-1], number.get(CLEAN, -1))
    merges, merge_of = np.unique(np.stack(rpn, axis=1), axis=0, return_inverse=True)
    of_pooled = np.zeros((len(settings), len(pooled)), dtype=np.int64)
    for column, level in enumerate(pooled):
        of_pooled[:, column] = box[level]
    return Plan(tuple(settings), treatments, merges, merge_of.reshape(-1), tuple(pooled), of_pooled)
