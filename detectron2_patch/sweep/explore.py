"""Which settings to evaluate next, when the smallest payload is looked for.

A setting chooses one candidate for each level. That each level costs its own bytes is exact; that
the losses of levels add up is a guess, good enough to say what to try. So: each candidate alone,
and on all levels alike; then, for every price of a byte, the setting that the guess likes best;
then the neighbours of the best ones found, until nothing improves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from detectron2_patch.analysis.search import Point, front
from detectron2_patch.settings.cost import BYTES, level_cost
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.settings.restoring import restored
from detectron2_patch.settings.setting import Treatments
from detectron2_patch.settings.treatments import CLEAN, Sent

# Of each level what may be sent of it, or None: nothing. P6 is made of the P5 that was received.
Choice = tuple[Sent | None, ...]
_PRICES = 200
_NEIGHBOURS_OF = 6  # best points whose neighbours are tried in a round
_STEPS = 3  # candidates to either side, by cost


class Space:
    """The settings that choose a candidate for each level.

    Args:
        candidates: what may be sent of a level, for each level of the wire; None: nothing.
        restorer: makes the treatments of a choice in which some level isn't sent.
        by: what is to be small, ``bytes`` or ``elements``.
    """

    def __init__(
        self, candidates: Mapping[str, Sequence[Sent | None]], restorer, by: str = BYTES
    ) -> None:
        self.by = by
        self.levels = tuple(candidates)
        self.candidates = {level: list(dict.fromkeys(c)) for level, c in candidates.items()}
        self.restorer = restorer

    def treatments(self, choice: Choice) -> Treatments:
        """The treatments of all levels of a choice for those of the wire."""
        sent = {level: one for level, one in zip(self.levels, choice) if one is not None}
        return self.restorer(sent)

    def alone(self) -> list[Treatments]:
        """Each candidate of a level with the others clean."""
        clean: list[Sent | None] = [CLEAN] * len(self.levels)
        found = [tuple(clean)]
        for i, level in enumerate(self.levels):
            found += [(*clean[:i], one, *clean[i + 1 :]) for one in self.candidates[level]]
        return self._made(found)

    def alike(self) -> list[Treatments]:
        """Each candidate on all levels: no map that ``alone`` doesn't need, too."""
        return self._made(list(zip(*self.candidates.values())))

    def together(self, points: Sequence[Point]) -> list[Treatments]:
        """For each price of a byte what the guess likes best, from ``alone``'s points."""
        gain = self._alone(points)
        found = []
        costs = np.concatenate([cost for cost, _ in gain.values()])
        losses = np.concatenate([loss for _, loss in gain.values()])
        scale = max(losses.max(), 1e-9) / costs.max()
        for price in scale * np.logspace(-3, 3, _PRICES):
            found.append(
                tuple(
                    self.candidates[level][int(np.argmin(loss + price * cost))]
                    for level, (cost, loss) in gain.items()
                )
            )
        return self._made(found)

    def around(self, points: Sequence[Point], limit: float) -> list[Treatments]:
        """The neighbours of the best points: one level a few candidates up or down in cost.

        Args:
            limit: the allowed drop in percent; the points of the front nearest to it count.
        """
        gain = self._alone(points)
        order = {level: np.argsort(cost, kind="stable") for level, (cost, _) in gain.items()}
        mine = [(point, choice) for point in points if (choice := self._choice(point)) is not None]
        choices = {id(point): choice for point, choice in mine}
        near = sorted(
            front([point for point, _ in mine]), key=lambda point: abs(point.drop - limit)
        )
        found: list[Choice] = []
        for point in near[:_NEIGHBOURS_OF]:
            found += self._neighbours(choices[id(point)], order)
        return self._made(found)

    def _neighbours(self, choice: Choice, order: Mapping[str, np.ndarray]) -> list[Choice]:
        found = []
        for i, level in enumerate(self.levels):
            candidates = self.candidates[level]
            if choice[i] not in candidates:  # the clean level may be none
                steps = order[level][-_STEPS:]
            else:
                place = int(np.flatnonzero(order[level] == candidates.index(choice[i]))[0])
                steps = order[level][max(0, place - _STEPS) : place + _STEPS + 1]
            found += [(*choice[:i], candidates[step], *choice[i + 1 :]) for step in steps]
        return found

    def _alone(self, points: Sequence[Point]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Cost of each candidate of a level, and the drop with the others clean."""
        by_treatments = {point.setting.treatments: point for point in points}
        found = {}
        for i, level in enumerate(self.levels):
            clean: list[Sent | None] = [CLEAN] * len(self.levels)
            cost, loss = [], []
            for one in self.candidates[level]:
                point = by_treatments[self.treatments((*clean[:i], one, *clean[i + 1 :]))]
                payload = point.result["payload"]
                side = payload.get("side_bytes", {}) if self.by == BYTES else {}
                cost.append(level_cost(payload, level, self.by) + sum(side.values()))
                loss.append(max(point.drop, 0.0))
            found[level] = np.array(cost, dtype=float), np.array(loss)
        return found

    def _choice(self, point: Point) -> Choice | None:
        """The choice that a point is; None where it isn't of this space."""
        treatments = point.setting.by_level()
        choice = tuple(
            one if isinstance(one := treatments[level], Sent) else None for level in self.levels
        )
        if all(one is None for one in choice):
            return None
        return choice if self.treatments(choice) == tuple(treatments.values()) else None

    def _made(self, choices: Sequence[Choice]) -> list[Treatments]:
        useful = (one for one in choices if any(sent is not None for sent in one))
        return list(dict.fromkeys(self.treatments(one) for one in useful))


def restore_with(words: Sequence[str], levels: Sequence[str] = LEVELS):
    """What makes treatments of sent levels: the others as ``words`` say, P6 of P5."""

    def make(sent: Mapping[str, Sent]) -> Treatments:
        treatments = restored(sent, words, levels)
        return tuple(treatments[level] for level in levels)

    return make
