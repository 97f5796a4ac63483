"""Weights by name: a path, an https address, or the zoo's ``detectron2://…``."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from detectron2_patch.errors import InputError
from detectron2_patch.utils.files import cache_dir, home
from detectron2_patch.weights.transfer import NETWORK_ERRORS, explain, transfer

logger = logging.getLogger(__name__)
ZOO = "detectron2://"
ZOO_ADDRESS = "https://dl.fbaipublicfiles.com/detectron2/"
HEURISTICS = "?matching_heuristics=True"  # detectron2's wish for what load_weights does anyway


def resolve_weights(name: str) -> Path:
    """The local file of ``MODEL.WEIGHTS``, fetched into the cache when it is an address.

    Raises:
        InputError: no such file, an address that can't be fetched, or another scheme.
    """
    plain = name.removesuffix(HEURISTICS)
    if plain.startswith(ZOO):
        return fetch(ZOO_ADDRESS + plain.removeprefix(ZOO))
    scheme, separator, _ = plain.partition("://")
    if separator and scheme.lower() == "https":
        return fetch(plain)
    if separator:
        raise InputError(
            f"MODEL.WEIGHTS {name} has the scheme {scheme}; give a path, https:// or {ZOO}"
        )
    path = Path(os.path.expanduser(plain))
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise InputError(f"MODEL.WEIGHTS {name} {what}; give a checkpoint file")
    return path


def fetch(address: str) -> Path:
    """The cached file of ``address``; an interrupted download goes on where it stopped.

    A zoo file that detectron2 has in its own cache is taken from there. Of several processes
    that want one file, one fetches it and the others wait.

    Raises:
        InputError: it can't be fetched; the line says where to put the file by hand.
    """
    path = cached_path(address)
    for present in (path, *_detectron2_copy(address)):
        if present.is_file():
            return present
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(path):
            if not path.is_file():  # another process may have been faster
                partial = path.with_name(f".{path.name}.part")
                transfer(address, partial)
                os.replace(partial, path)
    except NETWORK_ERRORS as error:
        raise InputError(
            f"cannot fetch {address}: {explain(error)}; without a network, put the file at {path}"
        ) from error
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; set DETECTRON2_PATCH_CACHE to a "
            "folder that can be written and has space"
        ) from error
    return path


def cached_path(address: str) -> Path:
    """Where the file of an address is kept: by host and path, and apart for each query.

    Raises:
        InputError: the address has no host or names no file.
    """
    try:
        parts = urlsplit(address)
        host = "_".join(str(part) for part in (parts.hostname, parts.port) if part)
    except ValueError:  # a port that is no number, an unclosed bracket
        host = ""
    *folders, file = parts.path.replace("..", "_").split("/") if host else [""]
    if not file:
        raise InputError(f"MODEL.WEIGHTS {address} names no file; give the address of a checkpoint")
    if parts.query:
        file = f"{hashlib.sha256(parts.query.encode()).hexdigest()[:12]}-{file}"
    return cache_dir("weights", host, *folders, file)


def _detectron2_copy(address: str) -> list[Path]:
    """Where an installed detectron2 (iopath) keeps a file of the zoo."""
    if not address.startswith(ZOO_ADDRESS):
        return []  # its cache leaves out the host, so another's file could lie there
    own = home()
    base = os.environ.get("FVCORE_CACHE") or (own and own / ".torch" / "iopath_cache")
    return (
        []
        if base is None
        else [Path(os.path.expanduser(base)) / urlsplit(address).path.lstrip("/")]
    )


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold the lock of ``path``. It goes with the process, so a kill leaves nothing locked."""
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        logger.info("waiting for the process that is fetching %s", path.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
