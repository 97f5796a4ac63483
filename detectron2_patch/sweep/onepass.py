"""An image's detections under every setting, for the price of a few.

    backbone ── P2 … P6 ──┬─ each (level, treatment) ─ RPN ─ one list ─┐
                          │                                            ├─ merges: five prefixes each
                          └─ maps that the box head reads ─┐           │
                             box head on the union of all chosen boxes ┘
                                   └─ suppression and final cut, settings as bits

Two facts make it exact. The RPN works on each level alone until the merge. And the box head's
answer depends on the box and on the one map of its level, on nothing else of the setting.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detectron2_patch.codec.fitted import Fitted, check_fitted
from detectron2_patch.codec.transmission import Channel, sent_elements
from detectron2_patch.rcnn.boxes import to_image
from detectron2_patch.rcnn.roi_heads import candidates, pooled_level
from detectron2_patch.settings.codecs import Codec, ImageCodec
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.settings.treatments import CLEAN, Treatment, sources_of
from detectron2_patch.sweep.merge import common_order, prefix_lengths
from detectron2_patch.sweep.plan import POOLED, Plan
from detectron2_patch.sweep.suppress import keep_best, pack, suppress

_ROWS = 2048  # boxes through the box head at a time: bounds its memory


@dataclass
class Detected:
    """One image's distinct detections, by falling score, and which settings have which.

    Attributes:
        boxes: ``(D, 4)`` float32 in the image's pixels.
        scores: ``(D,)`` float32.
        classes: ``(D,)`` int16.
        members: ``(D, W)``, bit ``s % 64`` of word ``s // 64`` is setting ``s``.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    members: np.ndarray


@dataclass
class _Proposed:
    """One image's proposals of all lists, one list after the other. ``T`` proposals.

    ``boxes`` ``(T, 4)`` stays on the device; ``list_of``, ``rank`` (within its list), ``by_order``
    (proposals in the common order), ``order`` (their places in it) and ``pooled`` (index of the
    level one is pooled from) are ``(T,)``.
    """

    boxes: Tensor
    list_of: np.ndarray
    rank: np.ndarray
    by_order: np.ndarray
    order: np.ndarray
    pooled: np.ndarray


class OnePass:
    """Runs ``engine`` on images under every setting of ``plan``.

    Attributes:
        seconds: where the time went: ``backbone``, ``rpn`` and ``box head`` are the network's, the
            work that no order of doing things avoids; ``image codec``, ``treat`` (what is sent and
            restored), ``merge`` and ``suppress`` are ours.
        rows: how many boxes went through the box head.
    """

    NETWORK = ("backbone", "rpn", "box head")

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
        self.lists = [(level, t) for level in LEVELS for t in range(len(plan.treatments[level]))]
        first = [self.lists.index((level, 0)) for level in LEVELS]
        self.choices = plan.merges + np.array(first)  # (M, 5) indices into lists
        self.choice_of = self.choices[plan.merge_of]  # (S, 5)
        # a clean map that settings of scope rpn alone need is read by no RPN
        self.read_by_rpn = {self.lists[index] for index in np.unique(self.choices)}
        most = max(len(plan.treatments[level]) for level in POOLED)
        # (4, most, W): the settings whose box head reads treatment t of level q
        self.readers = np.stack(
            [pack(plan.box[:, q] == np.arange(most)[:, None]) for q in range(len(POOLED))]
        )
        self.read_by_box_head = {
            (POOLED[q], t) for q, t in np.argwhere(self.readers.any(axis=2)).tolist()
        }
        # what others are restored from is kept, too, while a batch is at work
        self.sources = {
            source
            for level, t in self.lists
            for source in list(sources_of(level, plan.treatments[level][t]))[1:]
        }
        self.image_codecs = [
            one for one in plan.treatments[LEVELS[0]] if isinstance(one, ImageCodec)
        ]
        # in scope rpn nothing is saved, and no bytes are counted
        self.counted = {
            key
            for setting in plan.settings
            if setting.scope == "pyramid"
            for key in setting.by_level().items()
        }

    def kept(self) -> set[tuple[str, Treatment]]:
        """The (level, treatment) whose maps are in memory together while a batch is at work: the
        clean ones, those the box head reads, and those that others are restored from."""
        read = {(level, self.plan.treatments[level][t]) for level, t in self.read_by_box_head}
        return {(level, CLEAN) for level in LEVELS} | read | self.sources

    def __call__(self, inputs: Sequence) -> tuple[list[Detected], np.ndarray]:
        """The detections of images of one padded size, as ``engine.read`` gives them, and counts
        ``(2, L + 5)``, elements and bytes: of what each (level, treatment) sends of their maps,
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
                proposals.append(
                    self.engine.level_proposals(batch, level, treated)
                    if (level, t) in self.read_by_rpn
                    else None
                )
            if (level, t) in self.read_by_box_head:
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
        with self.timed("merge"):
            proposed = self._gather(proposals)
            prefixes = prefix_lengths(
                proposed.list_of[proposed.by_order],
                len(self.lists),
                self.choices,
                self.engine.post_nms_topk,
            )[self.plan.merge_of]
            row, treatment = self._needed(proposed, prefixes)
        pair, classes, boxes, scores = self._score(
            number, maps, proposed, row, treatment, network_size
        )
        with self.timed("suppress"):
            return self._select(
                proposed,
                prefixes,
                row[pair],
                treatment[pair],
                classes,
                boxes,
                scores,
                network_size,
                image_size,
            )

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
            pooled=pooled_level(boxes).cpu().numpy(),
        )

    def _needed(self, proposed: _Proposed, prefixes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The boxes that the box head has to see and the treatment of the map that each is pooled
        from: ``(P,)`` and ``(P,)``, by level pooled from, then treatment."""
        depth = np.zeros((len(self.lists), *self.readers.shape[:2]), dtype=np.int32)
        for column in range(len(LEVELS)):
            for q in range(len(POOLED)):
                where: Any = self.choice_of[:, column], q, self.plan.box[:, q]
                np.maximum.at(depth, where, prefixes[:, column])
        needed = proposed.rank[:, None] < depth[proposed.list_of, proposed.pooled]
        row, treatment = np.nonzero(needed)
        by_map = np.lexsort((treatment, proposed.pooled[row]))
        return row[by_map], treatment[by_map]

    def _score(self, number, maps, proposed, row, treatment, network_size):
        """Candidates: index into ``row``, class, box and score, each ``(D, …)``, unsorted."""
        pairs, classes = ([np.zeros(0, dtype=np.int64)] for _ in range(2))
        boxes = [np.zeros((0, 4), dtype=np.float32)]
        scores = [np.zeros(0, dtype=np.float32)]
        columns: tuple[list[np.ndarray], ...] = (pairs, classes, boxes, scores)
        self.rows += len(row)
        for start in range(0, len(row), _ROWS):
            part = slice(start, start + _ROWS)
            with self.timed("merge"):
                groups = self._groups(number, maps, proposed, row[part], treatment[part])
            with self.timed("box head"):
                outputs = self.engine.score(groups)
            with self.timed("suppress"):
                probabilities, refined = outputs
                found = candidates(
                    probabilities, refined, self.engine.score_threshold, network_size
                )
                for into, values in zip(columns, found):
                    into.append(values.cpu().numpy())
            pairs[-1] += start
        return tuple(map(np.concatenate, columns))

    def _groups(self, number, maps, proposed, row, treatment) -> list[tuple[str, Tensor, Tensor]]:
        """The boxes as ``engine.score`` takes them: one group a map, in the order given."""
        rois = proposed.boxes[torch.from_numpy(row).to(proposed.boxes.device)]
        rois = torch.cat([torch.full_like(rois[:, :1], number), rois], dim=1)
        key = np.stack([proposed.pooled[row], treatment], axis=1)
        firsts = [0, *(np.flatnonzero((key[1:] != key[:-1]).any(axis=1)) + 1)]
        counts = np.diff([*firsts, len(key)]).tolist()
        return [
            (POOLED[key[i, 0]], maps[POOLED[key[i, 0]], key[i, 1]], group)
            for i, group in zip(firsts, rois.split(counts))
        ]

    def _select(
        self, proposed, prefixes, row, treatment, classes, boxes, scores, network_size, image_size
    ) -> Detected:
        """Suppress within each class, cut, and take the boxes to the image's pixels."""
        tie = proposed.order[row] * self.engine.num_classes + classes
        order = np.lexsort((tie, -scores))
        row, treatment, classes = row[order], treatment[order], classes[order]
        boxes, scores = boxes[order], scores[order]
        members = self._members(proposed, prefixes, row, treatment)
        for kind in np.unique(classes):
            of_kind = np.flatnonzero(classes == kind)
            members[of_kind] = suppress(boxes[of_kind], members[of_kind], self.engine.nms_threshold)
        members = keep_best(members, len(self.plan.settings), self.engine.detections_per_image)
        boxes = to_image(torch.from_numpy(boxes), network_size, image_size).numpy()
        solid = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        found = members.any(axis=1) & solid
        return Detected(
            boxes[found], scores[found], classes[found].astype(np.int16), members[found]
        )

    def _members(self, proposed, prefixes, row, treatment) -> np.ndarray:
        """Which settings have which candidate: its box is in their merge and they have it pooled
        from this treatment. ``(D, W)``."""
        taken = np.zeros((len(self.lists), len(prefixes)), dtype=np.int32)
        for column in range(len(LEVELS)):
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
        full = [channel.clean[level].numel() for level in LEVELS]
        images = [len(channel.clean[level]) for level in LEVELS]
        return np.array([[*elements, *full], [*nbytes, *images]], dtype=np.int64)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the block's seconds to ``part``."""
        start = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[part] += time.perf_counter() - start  # type: ignore[assignment]  # as floats
