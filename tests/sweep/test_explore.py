"""The search on a detector whose losses are known."""

import dataclasses
import itertools

from detectron2_patch.analysis.search import Point, best
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.settings.setting import Setting
from detectron2_patch.settings.treatments import CLEAN, Sent
from detectron2_patch.sweep.explore import Space, restore_with

FULL = dict(zip(LEVELS, (4000, 1000, 250, 60, 15)))
BITS = (2, 3, 4, 6, 8)
CANDIDATES = {
    level: [None, *(Sent(bits=bits, range="level") for bits in BITS)] for level in LEVELS[:4]
}


def evaluate(treatments):
    """Each level loses by its bits, the more the finer it is; two coarse levels lose more."""
    lost, nbytes = [], {}
    for weight, level, one in zip((8.0, 4.0, 2.0, 1.0, 0.0), LEVELS, treatments):
        bits = one.bits or 32 if isinstance(one, Sent) else 0
        nbytes[level] = FULL[level] * bits // 8
        lost.append(weight * (5.0 if bits == 0 else 2.0 ** (2 - bits)))
    drop = sum(lost) + 0.05 * lost[0] * lost[1]
    setting = Setting(tuple(treatments))
    payload = {"bytes": nbytes, "sent": FULL, "side_bytes": {}}
    return Point({"payload": payload}, sum(nbytes.values()), 100 - drop, drop, drop, 1.0, setting)


def test_finds_what_trying_everything_finds():
    space = Space(CANDIDATES, restore_with(["nearest"]))
    points = [evaluate(one) for one in [*space.alone(), *space.alike()]]
    points += [evaluate(one) for one in space.together(points)]
    seen = len(points)
    for _ in range(3):
        points += [evaluate(one) for one in space.around(points, 1.4)]
    everything = [
        evaluate(space.treatments(choice))
        for choice in itertools.product(*CANDIDATES.values())
        if any(one is not None for one in choice)
    ]
    found, wanted = best(points, max_drop=1.4), best(everything, max_drop=1.4)
    assert found.cost == wanted.cost
    assert seen < 100 and len({one.words for one in points}) < len(everything) / 4


def test_each_level_alone_is_tried_once_and_nothing_is_sent_never():
    space = Space(CANDIDATES, restore_with(["nearest"]))
    found = space.alone()
    assert len(found) == len(set(found)) == 1 + 4 * len(CANDIDATES["p2"])
    assert all(any(isinstance(one, Sent) for one in treatments) for treatments in found)
    assert all(not isinstance(treatments[4], Sent) for treatments in found), "P6 is made of P5"
    assert found[0][:4] == (CLEAN,) * 4


def test_points_of_other_searches_do_not_lead_astray():
    """Others' restorers and candidates in the folder: only points of this space have neighbours."""
    space = Space(CANDIDATES, restore_with(["nearest"]))
    points = [evaluate(one) for one in space.alone()]
    foreign = [
        dataclasses.replace(
            evaluate((Sent(ratio), *[Sent(bits=1, range="level")] * 4)),
            cost=int(ratio),
            metric=99.0,
            drop=1.4,
        )
        for ratio in (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
    ]
    found = space.around([*points, *foreign], 1.4)
    assert found and set(found) == set(space.around(points, 1.4))


def test_elements_are_what_is_made_small_where_they_are_asked_for():
    space = Space(CANDIDATES, restore_with(["nearest"]), by="elements")
    points = [evaluate(one) for one in space.alone()]
    costs = space._alone(points)["p2"][0]
    assert set(costs.tolist()) == {FULL["p2"]}, "bits save no element"
