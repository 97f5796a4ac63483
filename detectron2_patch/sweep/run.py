"""A whole sweep: which settings are still to do, one pass over the images, their AP, their files.

Whatever is finished stays: a chunk of images in the spool, a setting in its result file. The same
command goes on from there and ends in the same files.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from detectron2_patch import distributed, pipeline
from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.errors import InputError
from detectron2_patch.payload import Elements, make_payload
from detectron2_patch.plain import digest
from detectron2_patch.progress import progress
from detectron2_patch.ratios import LEVELS
from detectron2_patch.results import load_results, result_name, write_result
from detectron2_patch.sweep.onepass import OnePass
from detectron2_patch.sweep.plan import Plan, make_plan
from detectron2_patch.sweep.score import score
from detectron2_patch.sweep.settings import Setting
from detectron2_patch.sweep.spool import GROUP, Spool, encode

logger = logging.getLogger(__name__)
CHUNK = 16  # images that are written, and after a kill repeated, together
_WRITERS = 8  # threads that write results
RESULT_BYTES = 4000  # what a result file takes, about
MACHINE = ("python", "platform", "device")  # versions that may differ between equal results

Describe = Callable[[Setting, Mapping[str, Any], Mapping[str, Any], float], dict[str, Any]]


@dataclass
class Sweep:
    """What to sweep.

    Attributes:
        engine: runs the detector; see ``engines``.
        dataset: the images.
        settings: all that are asked for.
        describe: a setting, its metrics by task, payload and seconds to its whole result.
        folder: where the results go.
        batch_size: images of one padded size that go through the network together.
        processes: how many compute AP.
        readers: threads that read images ahead.
        overwrite: do settings again that have a result.
    """

    engine: Any
    dataset: CocoDataset
    settings: Sequence[Setting]
    describe: Describe
    folder: Path
    batch_size: int = 1
    processes: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    readers: int = 1
    overwrite: bool = False

    def blank(self, setting: Setting) -> dict[str, Any]:
        """A setting's result before its evaluation: enough for its name and versions."""
        return self.describe(setting, {"bbox": {"AP": None}}, {}, 0.0)


@dataclass
class Done:
    """What a sweep did.

    Attributes:
        written, skipped: settings, and those that had their result already.
        seconds: where the time went, by part; of several processes, all of theirs.
        rows: boxes through the box head.
    """

    written: int
    seconds: Counter[str]
    rows: int = 0
    skipped: int = 0

    def gathered(self) -> Done | None:
        """What all processes did, on rank 0."""
        parts = distributed.gather(self)
        if parts is None:
            return None
        seconds = sum((part.seconds for part in parts), Counter())
        return Done(sum(part.written for part in parts), seconds,
                    sum(part.rows for part in parts), self.skipped)


def run(sweep: Sweep) -> Done | None:
    """Evaluate every setting that has no result yet and write one file each.

    Several processes share the images, then the settings; what was done comes back on rank 0,
    ``None`` on the others. An engine whose detector doesn't factorise evaluates one by one.

    Raises:
        InputError: another sweep uses the folder; results of other versions are in it; the disk is
            or would be full. What was finished stays, and the same call goes on.
    """
    with locked(sweep.folder):
        pending = _pending(sweep)
        distributed.barrier()  # every process has seen what is there before one writes
        reason = sweep.engine.factorises()
        try:
            if not pending:
                _spool(sweep).remove()
                done = Done(0, Counter())
            elif reason is not None:
                logger.warning("%s: settings can't share work, so one evaluation each", reason)
                done = _one_by_one(sweep, pending)
            else:
                done = _in_one_pass(sweep, pending)
        except InputError as error:
            raise InputError(
                f"{error}; what is finished is kept, and the same command goes on"
            ) from error
        done.skipped = len(sweep.settings) - len(pending)
        return done.gathered()


def _one_by_one(sweep: Sweep, pending: Sequence[Setting]) -> Done:
    """An evaluation a setting, as ``train_net.py`` does it."""
    for setting in progress(pending, unit="setting", desc="sweep", disable=distributed.rank() > 0):
        found = pipeline.evaluate(
            sweep.engine, sweep.dataset, setting.by_level(), setting.scope, sweep.readers
        )
        if found is not None:
            write_result(
                sweep.describe(setting, found.results, found.payload, found.seconds), sweep.folder
            )
    return Done(len(pending) if distributed.rank() == 0 else 0, Counter())


def _in_one_pass(sweep: Sweep, pending: Sequence[Setting]) -> Done:
    spool = _spool(sweep)
    # a spool's bits are numbered by the settings that were pending when it began
    spooled = [sweep.settings[i] for i in spool.read_settings()]
    if not set(pending) <= set(spooled):  # it begins, or results have been deleted since
        spooled = []
    plan = make_plan(spooled or pending)
    chunks = make_chunks(sweep.dataset, sweep.batch_size)
    one_pass = OnePass(sweep.engine, plan)
    distributed.barrier()
    if spooled:
        logger.info("going on with the unfinished sweep in %s", spool.folder)
    elif distributed.rank() == 0:
        spool.remove()
        _announce(sweep, plan, one_pass)
        numbers = {setting: i for i, setting in enumerate(sweep.settings)}
        spool.write_settings([numbers[setting] for setting in pending])
    distributed.barrier()
    _detect(sweep, spool, one_pass, chunks)
    share = sum(one_pass.seconds.values()) / len(plan.settings)
    distributed.barrier()
    with one_pass.timed("AP"):
        written = _evaluate(sweep, spool, plan, len(chunks), set(pending), share)
    distributed.barrier()
    spool.remove()
    return Done(written, one_pass.seconds, one_pass.rows)


def _spool(sweep: Sweep) -> Spool:
    return Spool(sweep.folder / f".sweep-{_identity(sweep)[:12]}")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for one sweep; the lock goes with the process, however that ends.

    Of several processes of one sweep, rank 0 holds it.

    Raises:
        InputError: another process holds it, or the folder can't be written.
    """
    import fcntl

    if distributed.rank() > 0:
        yield
        return
    path = folder / ".sweep.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(path, "w")
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}; choose a "
                         "--results-dir that can be written") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{folder} is in use by another sweep; wait for it, or give another "
                             "--results-dir") from error
        yield


def _identity(sweep: Sweep) -> str:
    """What a spool's bits depend on: everything but the arguments and the clock."""
    blank = sweep.blank(sweep.settings[0])
    versions = {k: v for k, v in blank["versions"].items() if k not in MACHINE}
    return digest([
        [list(map(str, one.ratios)) + [one.scope] for one in sweep.settings],
        blank["dataset"]["digest"], blank["weights"]["sha256"], blank["config"]["digest"],
        blank["engine"], versions, sweep.batch_size, CHUNK,
    ])


def _pending(sweep: Sweep) -> list[Setting]:
    """The settings without a result of this model, data and code.

    Raises:
        InputError: there are results of other versions.
    """
    present = {path.name for path in sweep.folder.glob("*.json")}
    pending, foreign = [], []
    for setting in sweep.settings:
        blank = sweep.blank(setting)
        name = result_name(blank)
        if name not in present or sweep.overwrite:
            pending.append(setting)
            continue
        (old,) = load_results(sweep.folder / name)
        if _packages(old) != _packages(blank):
            foreign.append((name, _difference(old, blank)))
    if foreign:
        name, difference = foreign[0]
        raise InputError(
            f"{len(foreign)} results in {sweep.folder} were made by other versions, {name} by "
            f"{difference}; --overwrite replaces them, another --results-dir keeps them"
        )
    return pending


def _packages(result: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in (result["versions"] or {}).items() if k not in MACHINE}


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    theirs, ours = _packages(old), _packages(new)
    key = next(k for k in (*ours, *theirs) if ours.get(k) != theirs.get(k))
    return f"{key} {theirs.get(key)} (here {ours.get(key)})"


def make_chunks(dataset: CocoDataset, batch_size: int) -> list[list[dict[str, Any]]]:
    """The images in chunks; when several go through the network together, alike sizes lie
    together."""
    images = dataset.images
    if batch_size > 1:
        images = sorted(images, key=lambda image: (image["height"], image["width"], image["id"]))
    size = max(CHUNK, batch_size)
    return [images[i : i + size] for i in range(0, len(images), size)]


def _announce(sweep: Sweep, plan: Plan, one_pass: OnePass) -> None:
    """Tell how much there is to do, from a rehearsal on one image.

    Raises:
        InputError: the disk has too little space.
    """
    image = sweep.dataset.images[len(sweep.dataset.images) // 2]
    loaded = sweep.engine.read(sweep.dataset.image_path(image))
    one_pass([loaded])  # the first run sets up what later ones find ready
    start = time.perf_counter()
    found, _ = one_pass([loaded])
    seconds = (time.perf_counter() - start) * len(sweep.dataset.images)
    spooled = len(encode([0], found, np.zeros(0))) * len(sweep.dataset.images)
    one_pass.seconds.clear()
    one_pass.rows = 0
    needed = spooled + RESULT_BYTES * len(plan.settings)
    treatments = sum(len(ratios) for ratios in plan.treatments.values())
    logger.info(
        "%d settings from %d treatments of single levels, on %d images: about %s for the pass, "
        "and about %s of disk, of which results %s",
        len(plan.settings), treatments, len(sweep.dataset.images), _duration(seconds),
        _size(needed), _size(RESULT_BYTES * len(plan.settings)),
    )  # fmt: skip
    free = shutil.disk_usage(sweep.folder).free
    if needed > free:
        raise InputError(f"{sweep.folder} has {_size(free)} free and the sweep needs about "
                         f"{_size(needed)}; make room, or choose another --results-dir")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _size(count: float) -> str:
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def _detect(
    sweep: Sweep, spool: Spool, one_pass: OnePass, chunks: Sequence[Sequence[dict]]
) -> None:
    """The pass over the images: a spool file for each chunk that has none."""
    missing = distributed.share([n for n in range(len(chunks)) if not spool.has(n)])
    paths = [sweep.dataset.image_path(image) for number in missing for image in chunks[number]]
    loaded = iter(sweep.engine.read_all(paths, sweep.readers)) if paths else iter(())
    with progress(total=len(paths), unit="image", desc="one pass",
                  disable=distributed.rank() > 0) as bar:
        for number in missing:
            with one_pass.timed("images"):
                inputs = [next(loaded) for _ in chunks[number]]
            found, elements = [], np.zeros(1, dtype=np.int64)
            for batch in _batches(inputs, sweep.batch_size):
                detected, counts = one_pass(batch)
                found += detected
                elements = elements + counts
                bar.update(len(batch))
            with one_pass.timed("spool"):
                spool.write(number, [image["id"] for image in chunks[number]], found, elements)


def _batches(inputs: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Consecutive inputs of one size of tensor, at most ``size``: padding reaches the maps."""
    start = 0
    for end in range(1, len(inputs) + 1):
        if (end == len(inputs) or end - start == size
                or inputs[end].tensor.shape != inputs[start].tensor.shape):
            yield inputs[start:end]
            start = end


def _evaluate(
    sweep: Sweep, spool: Spool, plan: Plan, chunks: int, pending: set[Setting], share: float
) -> int:
    """AP of each pending setting of the spool, written as it comes; returns how many."""
    elements = sum(np.array(spool.read(number)["elements"]) for number in range(chunks))
    payload = _Payload(plan, elements)
    todo = {i for i, setting in enumerate(plan.settings) if setting in pending}
    groups = distributed.share(sorted({i // GROUP for i in todo}))
    todo = {i for i in todo if i // GROUP in groups}
    if not todo:
        return 0
    processes = max(1, sweep.processes // distributed.local_world_size())
    results = score(sweep.dataset, spool, chunks, len(plan.settings), groups, processes)
    before = time.perf_counter()
    # Files are on the disk before they take their names; threads wait for it together.
    with (
        ThreadPoolExecutor(_WRITERS) as pool,
        progress(total=len(todo), unit="setting", desc="AP", disable=distributed.rank() > 0) as bar,
    ):
        for group in results:
            found = {index: bbox for index, bbox in group.items() if index in todo}
            now = time.perf_counter()
            seconds, before = share + (now - before) / len(group), now

            def write(item: tuple[int, Any], seconds: float = seconds) -> None:
                index, bbox = item
                result = sweep.describe(
                    plan.settings[index], {"bbox": bbox}, payload.of(index), seconds
                )
                write_result(result, sweep.folder)

            deque(pool.map(write, found.items()), maxlen=0)
            bar.update(len(found))
    return len(todo)


class _Payload:
    """Payloads of settings from the elements of each (level, treatment) over all images."""

    def __init__(self, plan: Plan, elements: np.ndarray) -> None:
        self.plan = plan
        ends = np.cumsum([len(plan.treatments[level]) for level in LEVELS])
        self.sent = dict(zip(LEVELS, np.split(elements[:-len(LEVELS)], ends[:-1])))
        self.full = dict(zip(LEVELS, elements[-len(LEVELS):].tolist()))

    def of(self, index: int) -> dict[str, Any]:
        chosen = self.plan.merges[self.plan.merge_of[index]]
        sent = {level: int(self.sent[level][t]) for level, t in zip(LEVELS, chosen)}
        return make_payload(self.plan.settings[index].scope, Elements(self.full, sent))
