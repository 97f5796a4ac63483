"""Which settings are still to do, in a folder that one sweep at a time may use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.bootstrap import has_replicates
from detectron2_patch.results.file import load_results
from detectron2_patch.results.identity import older_name, result_name
from detectron2_patch.settings.setting import Setting
from detectron2_patch.sweep.task import CHUNK, Sweep
from detectron2_patch.utils import distributed
from detectron2_patch.utils.json_values import digest

MACHINE = ("python", "platform", "device")  # versions that may differ between equal results


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for one sweep; the lock goes with the process, however that ends.

    Of several processes of one sweep, rank 0 holds it.

    Raises:
        InputError: another process holds it, or the folder can't be written.
    """
    if distributed.rank() > 0:
        yield
        return
    lock = FileLock(folder / ".sweep.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout as error:
        raise InputError(
            f"{folder} is in use by another sweep; wait for it, or give another --results-dir"
        ) from error
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror or error}; choose a "
            "--results-dir that can be written"
        ) from error
    try:
        yield
    finally:
        lock.release()


def identity(sweep: Sweep) -> str:
    """What a spool's bits depend on: everything but the arguments and the clock."""
    blank = sweep.blank(sweep.settings[0])
    versions = {k: v for k, v in blank["versions"].items() if k not in MACHINE}
    return digest(
        [
            [sweep.blank(one)["setting"] for one in sweep.settings],
            blank["dataset"]["digest"],
            blank["dataset"].get("content"),
            blank["weights"]["sha256"],
            blank["config"]["digest"],
            blank["engine"],
            versions,
            sweep.batch_size,
            CHUNK,
        ]
    )


def find_pending(sweep: Sweep) -> list[Setting]:
    """The settings without a result of this model, data and code, or without its replicates.

    Raises:
        InputError: there are results of other versions.
    """
    present = {path.name for path in sweep.folder.glob("*.json")}
    pending, foreign = [], []
    for setting in sweep.settings:
        blank = sweep.blank(setting)
        name = result_name(blank)
        if sweep.overwrite or not present.intersection((name, older_name(blank))):
            pending.append(setting)
            continue
        if name not in present:
            foreign.append((older_name(blank), "one that didn't look into the images"))
            continue
        (old,) = load_results(sweep.folder / name)
        if _packages(old) != _packages(blank):
            foreign.append((name, _difference(old, blank)))
        elif not has_replicates(old, sweep.replicates):
            pending.append(setting)
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
