"""An image's detections under every setting, for the price of a few.

    backbone ── P2 … P6 ──┬─ each (level, treatment) ─ RPN ─ one list ─┐
                          │                                            ├─ merges: five prefixes each
                          └─ maps that the heads read ─────┐           │
                             box head on the union of all chosen boxes ┘
                                   └─ suppression and final cut, settings as bits
                                         └─ mask or keypoint head on the union of what is detected

Two facts make it exact. The RPN works on each level alone until the merge. And a head's answer
depends on the box and on the one map of its level, on nothing else of the setting. A cascade's box
head is several: a stage refines each box, which may move it to another level, so that there the
union is of (box, treatment of the level that it is now pooled from).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detectron2_patch.codec.fitted import Fitted, check_fitted
from detectron2_patch.codec.transmission import Channel, sent_elements
from detectron2_patch.errors import InputError
from detectron2_patch.rcnn.boxes import clip
from detectron2_patch.rcnn.roi_heads import candidates
from detectron2_patch.settings.codecs import Codec, ImageCodec
from detectron2_patch.settings.setting import RPN
from detectron2_patch.settings.treatments import CLEAN, Treatment, sources_of
from detectron2_patch.sweep.merge import common_order, prefix_lengths
from detectron2_patch.sweep.plan import Plan
from detectron2_patch.sweep.suppress import keep_best, pack, suppress

_ROWS = 2048  # boxes through the box head at a time: bounds its memory
_SHAPES = 64  # detections through a mask head at a time: their masks are as large as the image


@dataclass
class Detected:
    """One image's distinct detections, by falling score, and which settings have which.

    Attributes:
        boxes: ``(D, 4)`` float32 in the image's pixels.
        scores: ``(D,)`` float32.
        classes: ``(D,)`` int16.
        members: ``(D, W)``, bit ``s % 64`` of word ``s // 64`` is setting ``s``.
        shapes: task to the shapes of the ``D`` detections, as ``Engine.detect`` gives them. A box
            whose settings pool its shape from different maps is that many detections.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    members: np.ndarray
    shapes: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Proposed:
    """One image's proposals of all lists, one list after the other. ``T`` proposals.

    ``boxes`` ``(T, 4)`` stays on the device; ``list_of``, ``rank`` (within its list), ``by_order``
    (proposals in the common order), ``order`` (their places in it) and ``pooled`` (the column of
    the level one is pooled from) are ``(T,)``.
    """

    boxes: Tensor
    list_of: np.ndarray
    rank: np.ndarray
    by_order: np.ndarray
    order: np.ndarray
    pooled: np.ndarray


@dataclass
class _Candidates:
    """What passes the score threshold, in no order. ``D`` candidates.

    ``order`` (of the proposal, in the common order), ``classes`` and ``scores`` are ``(D,)``,
    ``boxes`` ``(D, 4)`` in the network's pixels; ``members`` gives the settings, ``(n, W)``, that
    have the ``n`` candidates of given indices.
    """

    order: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    members: Callable[[np.ndarray], np.ndarray]


class OnePass:
    """Runs ``engine`` on images under every setting of ``plan``.

    Attributes:
        seconds: where the time went: ``backbone``, ``rpn``, ``box head`` and ``shape heads`` (masks
            and keypoints) are the network's, the
            work that no order of doing things avoids; ``image codec``, ``treat`` (what is sent and
            restored), ``merge`` and ``suppress`` are ours.
        rows: how many boxes went through the box head.
    """

    NETWORK = ("backbone", "rpn", "box head", "shape heads")

    def __init__(self, engine, plan: Plan, fitted: Fitted | None = None) -> None:
        self.engine, self.plan, self.fitted = engine, plan, fitted
        for setting in plan.settings:
            if setting.uses_fit:  # one says it for all
                check_fitted(setting, fitted, engine.model)
                break
        for one in {one for treatments in plan.treatments.values() for one in treatments}:
            if isinstance(one, Codec):
                one.check_model(engine.model)
        self.device = next(engine.model.parameters()).device
        self.seconds: Counter[str] = Counter()
        self.rows = 0
        self.lists = [
            (level, t) for level in plan.levels for t in range(len(plan.treatments[level]))
        ]
        first = [self.lists.index((level, 0)) for level in plan.levels]
        self.choices = plan.merges + np.array(first)  # (M, L) indices into lists
        self.choice_of = self.choices[plan.merge_of]  # (S, L)
        # a clean map that settings of scope rpn alone need is read by no RPN
        self.read_by_rpn = {self.lists[index] for index in np.unique(self.choices)}
        if engine.dense and any(setting.scope == RPN for setting in plan.settings):
            raise InputError(
                "scope rpn: the detector has no RPN, and all its heads read the same maps; give "
                "scope pyramid"
            )
        most = max((len(plan.treatments[level]) for level in plan.pooled), default=1)
        self.columns = self._columns(engine.pooled)
        # (Q, most, W): the settings whose heads read treatment t of level q
        readers = []
        for column in plan.box.T:
            readers.append(pack(column == np.arange(most)[:, None]))
        self.readers = np.stack(readers) if readers else np.zeros((0, most, 1), dtype=np.uint64)
        self.read_by_heads = {
            (plan.pooled[q], t) for q, t in np.argwhere(self.readers.any(axis=2)).tolist()
        }
        # what others are restored from is kept, too, while a batch is at work
        self.sources = {
            source
            for level, t in self.lists
            for source in list(sources_of(level, plan.treatments[level][t]))[1:]
        }
        self.image_codecs = [
            one for one in plan.treatments[plan.levels[0]] if isinstance(one, ImageCodec)
        ]
        # in scope rpn nothing is saved, and no bytes are counted
        self.counted = {
            key
            for setting in plan.settings
            if setting.scope == "pyramid"
            for key in setting.by_level().items()
        }

    def _columns(self, levels: Sequence[str]) -> np.ndarray:
        """Of each level of a head, its place among the plan's."""
        return np.array([self.plan.pooled.index(level) for level in levels])

    def kept(self) -> set[tuple[str, Treatment]]:
        """The (level, treatment) whose maps are in memory together while a batch is at work: the
        clean ones, those the heads read, and those that others are restored from."""
        read = {(level, self.plan.treatments[level][t]) for level, t in self.read_by_heads}
        return {(level, CLEAN) for level in self.plan.levels} | read | self.sources

    def __call__(self, inputs: Sequence) -> tuple[list[Detected], np.ndarray]:
        """The detections of images of one padded size, as ``engine.read`` gives them, and counts
        ``(2, T + L)``, elements and bytes: of what each (level, treatment) sends of their maps,
        then of each level in full, and in its place of bytes, of images."""
        with self.timed("backbone"):
            batch = self.engine.batch(inputs)
            clean = self.engine.pyramid(batch)
        channel = Channel(clean, self.fitted, self.counted, self._recoded(inputs).pop)
        maps, proposals = {}, []
        for level, t in self.lists:
            treatment = self.plan.treatments[level][t]
            with self.timed("treat"):
                treated = channel.map(level, treatment)
                if (level, treatment) not in self.sources:
                    del channel.maps[level, treatment]
            with self.timed("rpn"):
                head = self.engine.level_proposals
                if self.engine.dense:
                    head = self.engine.level_detections
                read = (level, t) in self.read_by_rpn
                proposals.append(head(batch, level, treated) if read else None)
            if (level, t) in self.read_by_heads:
                maps[level, t] = treated
        del channel.maps
        detected = [
            self._image(
                number,
                maps,
                [found and found[number] for found in proposals],
                batch.image_sizes[number],
                one.image_size,
            )
            for number, one in enumerate(inputs)
        ]
        return detected, self._counts(channel)

    def _recoded(self, inputs: Sequence) -> dict[ImageCodec, tuple[dict[str, Tensor], int]]:
        """Of each image codec of the plan, the clean maps of the decoded images and the bytes."""
        found = {}
        for codec in self.image_codecs:
            with self.timed("image codec"):
                recoded = [self.engine.recode(one, codec) for one in inputs]
            with self.timed("backbone"):
                maps = self.engine.pyramid(self.engine.batch([one for one, _ in recoded]))
            found[codec] = maps, sum(nbytes for _, nbytes in recoded)
        return found

    def _image(self, number: int, maps: dict, proposals: list, network_size, image_size):
        if self.engine.dense:
            with self.timed("suppress"):
                return self._select(self._dense(proposals), network_size, image_size)[0]
        with self.timed("merge"):
            proposed = self._gather(proposals)
            prefixes = prefix_lengths(
                proposed.list_of[proposed.by_order],
                len(self.lists),
                self.choices,
                self.engine.post_nms_topk,
            )[self.plan.merge_of]
            row, treatment = self._needed(proposed, prefixes)
        if self.engine.stages > 1:
            found = self._cascade(number, maps, proposed, prefixes, row, treatment, network_size)
        else:
            found = self._score(number, maps, proposed, prefixes, row, treatment, network_size)
        with self.timed("suppress"):
            detected, boxes = self._select(found, network_size, image_size)
        for head in self.engine.shape_heads:
            detected, boxes = self._shape(
                head, number, maps, detected, boxes, network_size, image_size
            )
        return detected

    def _dense(self, found: list) -> _Candidates:
        """What the levels give under each treatment; a setting has that of its own treatments."""
        counts = [0 if one is None else len(one) for one in found]
        list_of = np.repeat(np.arange(len(found)), counts)
        settings = np.zeros((len(found), len(self.choice_of)), dtype=bool)
        for column in self.choice_of.T:
            settings[column, np.arange(len(column))] = True
        members = pack(settings)
        boxes, scores, classes = (
            torch.cat([getattr(one, name) for one in found if one is not None]).cpu().numpy()
            for name in ("boxes", "scores", "classes")
        )
        order = np.arange(len(list_of))
        return _Candidates(order, classes, boxes, scores, lambda chosen: members[list_of[chosen]])

    def _gather(self, proposals: list) -> _Proposed:
        """All lists of one image, each no longer than a merge can use."""
        topk = self.engine.post_nms_topk
        parts = [(p.boxes[:topk], p.logits[:topk]) for p in proposals if p is not None]
        lengths = [0 if p is None else len(p.logits[:topk]) for p in proposals]
        boxes = torch.cat([boxes for boxes, _ in parts])
        logits = torch.cat([logits for _, logits in parts]).cpu().numpy()
        by_order = common_order(logits)
        order = np.empty_like(by_order)
        order[by_order] = np.arange(len(logits))
        return _Proposed(
            boxes,
            list_of=np.repeat(np.arange(len(lengths)), lengths),
            rank=np.concatenate([np.arange(length) for length in lengths]),
            by_order=by_order,
            order=order,
            pooled=self.columns[self.engine.pooled_level(boxes).cpu().numpy()],
        )

    def _needed(self, proposed: _Proposed, prefixes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The boxes that the box head has to see and the treatment of the map that each is pooled
        from: ``(P,)`` and ``(P,)``, by level pooled from, then treatment."""
        depth = np.zeros((len(self.lists), *self.readers.shape[:2]), dtype=np.int32)
        for column in range(len(self.plan.levels)):
            for q in range(len(self.plan.pooled)):
                where: Any = self.choice_of[:, column], q, self.plan.box[:, q]
                np.maximum.at(depth, where, prefixes[:, column])
        needed = proposed.rank[:, None] < depth[proposed.list_of, proposed.pooled]
        row, treatment = np.nonzero(needed)
        by_map = np.lexsort((treatment, proposed.pooled[row]))
        return row[by_map], treatment[by_map]

    def _score(self, number, maps, proposed, prefixes, row, treatment, network_size) -> _Candidates:
        """What the box head makes of each of ``row`` on each ``treatment``."""
        pairs, classes = ([np.zeros(0, dtype=np.int64)] for _ in range(2))
        boxes = [np.zeros((0, 4), dtype=np.float32)]
        scores = [np.zeros(0, dtype=np.float32)]
        columns: tuple[list[np.ndarray], ...] = (pairs, classes, boxes, scores)
        self.rows += len(row)
        for start in range(0, len(row), _ROWS):
            part = slice(start, start + _ROWS)
            with self.timed("merge"):
                rois = proposed.boxes[self._to_device(row[part])]
                pooled = proposed.pooled[row[part]]
                groups = self._groups(number, maps, rois, pooled, treatment[part])
            with self.timed("box head"):
                outputs = self.engine.score(groups)
            with self.timed("suppress"):
                probabilities, refined = outputs
                found = candidates(
                    probabilities,
                    refined,
                    self.engine.score_threshold,
                    network_size,
                    self.engine.smallest,
                )
                for into, values in zip(columns, found):
                    into.append(values.cpu().numpy())
            pairs[-1] += start
        pair, kinds, placed, score = (np.concatenate(column) for column in columns)
        row, treatment = row[pair], treatment[pair]
        return _Candidates(
            proposed.order[row],
            kinds,
            placed,
            score,
            lambda chosen: self._members(proposed, prefixes, row[chosen], treatment[chosen]),
        )

    def _cascade(
        self, number, maps, proposed, prefixes, row, treatment, network_size
    ) -> _Candidates:
        """``_score`` stage by stage. A node is a box on its way through the stages, on one map in
        each: settings part where they treat the level that it moves to differently."""
        members = self._members(proposed, prefixes, row, treatment)
        boxes, pooled = proposed.boxes[self._to_device(row)], proposed.pooled[row]
        total: Any = None
        refined = boxes
        for stage in range(self.engine.stages):
            if stage > 0:
                with self.timed("merge"):
                    boxes = clip(refined, network_size)
                    pooled = self.columns[self.engine.pooled_level(boxes).cpu().numpy()]
                    parent, treatment, members = self._part(pooled, members)
                    row, pooled = row[parent], pooled[parent]
                    parent = self._to_device(parent)
                    boxes, total = boxes[parent], total[parent]
            scores, refined = self._stage(number, maps, boxes, pooled, treatment, stage)
            total = scores if stage == 0 else total + scores
        with self.timed("suppress"):
            mean = total * (1.0 / self.engine.stages)
            pair, classes, refined, score = (
                values.cpu().numpy()
                for values in candidates(mean, refined, self.engine.score_threshold, network_size)
            )
        return _Candidates(
            proposed.order[row[pair]], classes, refined, score, lambda c: members[pair[c]]
        )

    def _stage(self, number, maps, boxes, pooled, treatment, stage) -> tuple[Tensor, Tensor]:
        """Scores and refined boxes of all nodes, ``(P, …)``."""
        self.rows += len(treatment)
        outputs = []
        for start in range(0, len(treatment), _ROWS):
            part = slice(start, start + _ROWS)
            groups = self._groups(number, maps, boxes[part], pooled[part], treatment[part])
            with self.timed("box head"):
                outputs.append(self.engine.score(groups, stage))
        if not outputs:
            return boxes.new_zeros(0, self.engine.num_classes + 1), boxes
        scores, refined = map(torch.cat, zip(*outputs))
        return scores, refined

    def _part(self, pooled: np.ndarray, members: np.ndarray):
        """Part the settings of each box by the treatment of the level that it is pooled from.

        Args:
            pooled: ``(P,)`` column of that level.
            members: ``(P, W)`` the settings that have the box.

        Returns:
            index of the box, treatment and members, by level, then treatment.
        """
        parts = []
        for t in range(self.readers.shape[1]):
            mine = members & self.readers[pooled, t]
            has = np.flatnonzero(mine.any(axis=1))
            parts.append((has, np.full(len(has), t), mine[has]))
        parent, treatment, members = map(np.concatenate, zip(*parts))
        order = np.lexsort((parent, treatment, pooled[parent]))
        return parent[order], treatment[order], members[order]

    def _shape(self, head, number, maps, detected, boxes, network_size, image_size):
        """The detections, and their boxes in the network's pixels, with the shapes that ``head``
        gives them: once for each map of the level that a detection's shape is pooled from."""
        with self.timed("merge"):
            columns = self._columns(head.levels)
            pooled = columns[head.level(self._to_device(boxes)).cpu().numpy()]
            parent, treatment, members = self._part(pooled, detected.members)
        found: list[Any] = []
        for start in range(0, len(parent), _SHAPES):
            part = slice(start, start + _SHAPES)
            mine = parent[part]
            rois = self._to_device(boxes[mine])
            groups = self._groups(number, maps, rois, pooled[mine], treatment[part])
            classes = self._to_device(detected.classes[mine].astype(np.int64))
            with self.timed("shape heads"):
                found.extend(head.shapes(groups, classes, network_size, image_size))
        order = np.lexsort((treatment, parent))  # by falling score again
        rows = parent[order]
        shapes = {task: [one[i] for i in rows] for task, one in detected.shapes.items()}
        shapes[head.task] = [found[i] for i in order]
        again = Detected(
            detected.boxes[rows],
            detected.scores[rows],
            detected.classes[rows],
            members[order],
            shapes,
        )
        return again, boxes[rows]

    def _to_device(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self.device)

    def _groups(self, number, maps, rois, pooled, treatment) -> list[tuple[str, Tensor, Tensor]]:
        """The boxes as ``engine.score`` takes them: one group a map, in the order given."""
        rois = torch.cat([torch.full_like(rois[:, :1], number), rois], dim=1)
        key = np.stack([pooled, treatment], axis=1)
        firsts = [0, *(np.flatnonzero((key[1:] != key[:-1]).any(axis=1)) + 1)]
        counts = np.diff([*firsts, len(key)]).tolist()
        levels = [self.plan.pooled[q] for q in key[firsts, 0].tolist()]
        return [
            (level, maps[level, key[i, 1]], group)
            for level, i, group in zip(levels, firsts, rois.split(counts))
        ]

    def _select(self, given: _Candidates, network_size, image_size) -> tuple[Detected, np.ndarray]:
        """Suppress within each class, cut, and take the boxes to the image's pixels; and the boxes
        as they were."""
        tie = given.order * self.engine.kinds + given.classes
        order = np.lexsort((tie, -given.scores))
        classes, boxes, scores = given.classes[order], given.boxes[order], given.scores[order]
        members = given.members(order)
        for kind in np.unique(classes):
            of_kind = np.flatnonzero(classes == kind)
            members[of_kind] = suppress(boxes[of_kind], members[of_kind], self.engine.nms_threshold)
        members = keep_best(members, len(self.plan.settings), self.engine.detections_per_image)
        placed = self.engine.place(torch.from_numpy(boxes), network_size, image_size).numpy()
        classes = self.engine.contiguous(classes)
        solid = (placed[:, 2] > placed[:, 0]) & (placed[:, 3] > placed[:, 1])
        found = members.any(axis=1) & (solid | self.engine.keeps_empty) & (classes >= 0)
        detected = Detected(
            placed[found], scores[found], classes[found].astype(np.int16), members[found]
        )
        return detected, boxes[found]

    def _members(self, proposed, prefixes, row, treatment) -> np.ndarray:
        """Which settings have which candidate: its box is in their merge and they have it pooled
        from this treatment. ``(D, W)``."""
        taken = np.zeros((len(self.lists), len(prefixes)), dtype=np.int32)
        for column in range(len(self.plan.levels)):
            taken[self.choice_of[:, column], np.arange(len(prefixes))] = prefixes[:, column]
        members = self.readers[proposed.pooled[row], treatment]
        for start in range(0, len(row), _ROWS):
            part = row[start : start + _ROWS]
            in_merge = taken[proposed.list_of[part]] > proposed.rank[part][:, None]
            members[start : start + _ROWS] &= pack(in_merge)
        return members

    def _counts(self, channel: Channel) -> np.ndarray:
        elements, nbytes = [], []
        for level, t in self.lists:
            treatment = self.plan.treatments[level][t]
            elements.append(sent_elements(channel.clean[level].shape, treatment))
            nbytes.append(channel.nbytes.get((level, treatment), 0))
        full = [channel.clean[level].numel() for level in self.plan.levels]
        images = [len(channel.clean[level]) for level in self.plan.levels]
        return np.array([[*elements, *full], [*nbytes, *images]], dtype=np.int64)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the block's seconds to ``part``."""
        start = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[part] += time.perf_counter() - start  # type: ignore[assignment]  # as floats
