"""What tells a dataset's pictures from others of the same names: their bytes, hashed once.

A picture that has been hashed is known again by its size, its times and its inode, which change
with it. What is known of large folders lies in the cache; without one they are hashed each time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from detectron2_patch.errors import InputError
from detectron2_patch.utils.files import atomic_write, cache_dir, sha256
from detectron2_patch.utils.machine import usable_cores

SMALL = 64 << 20  # bytes that are hashed in a moment: nothing is kept of fewer
FRESH = 2 * 10**9  # nanoseconds in which a file may change again and show the same time

Stamp = list[int]


def content_digest(root: Path, names: Sequence[str]) -> str:
    """SHA-256 over the names and bytes of the images below ``root``, in this order.

    Raises:
        InputError: one can't be read.
    """
    paths = [os.path.join(root, name) for name in names]
    try:
        before = time.time_ns()
        stamps = [_stamp(path) for path in paths]
        small = sum(size for size, *_ in stamps) < SMALL
        known = {} if small else _known(root)
        todo = [i for i, name in enumerate(names) if known.get(name, ())[:-1] != stamps[i]]
        with ThreadPoolExecutor(usable_cores()) as pool:
            hashed = dict(zip(todo, pool.map(lambda i: sha256(paths[i]), todo)))
    except OSError as error:
        raise InputError(
            f"cannot read image {error.filename}: {error.strerror}; restore the file, or "
            "name another"
        ) from error
    found = [hashed.get(i) or known[name][-1] for i, name in enumerate(names)]
    if todo and not small:
        old = before - FRESH
        _keep(
            root,
            {
                name: [*stamp, one]
                for name, stamp, one in zip(names, stamps, found)
                if max(stamp[1:3]) < old
            },
        )
    return hashlib.sha256(json.dumps(list(zip(names, found))).encode()).hexdigest()


def _stamp(path: str) -> Stamp:
    """Bytes, when the content and the entry changed, inode."""
    entry = os.stat(path)
    return [entry.st_size, entry.st_mtime_ns, entry.st_ctime_ns, entry.st_ino]


def _file(root: Path) -> Path:
    name = hashlib.sha256(os.fsencode(os.path.abspath(root))).hexdigest()[:16]
    return cache_dir("contents") / f"{name}.json"


def _known(root: Path) -> dict[str, list]:
    """Image name to stamp and hash, as they were kept; nothing where nothing is, or is damaged."""
    with suppress(InputError, OSError, ValueError):
        found = json.loads(_file(root).read_bytes())
        if isinstance(found, dict) and all(isinstance(one, list) for one in found.values()):
            return found
    return {}


def _keep(root: Path, known: dict[str, list]) -> None:
    """No cache is needed: where there can be none, the images are hashed again."""
    with suppress(InputError), atomic_write(_file(root)) as file:
        file.write(json.dumps(known).encode())
