"""Weights by name: a path, an https address, or the zoo's ``detectron2://…``."""

from __future__ import annotations

import logging
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from detectron2_patch.errors import InputError
from detectron2_patch.files import cache_dir
from detectron2_patch.progress import progress

logger = logging.getLogger(__name__)
ZOO = "detectron2://"
ZOO_ADDRESS = "https://dl.fbaipublicfiles.com/detectron2/"
TRIES = 4
TIMEOUT = 30  # seconds without a byte
BLOCK = 1 << 18


def resolve_weights(name: str) -> Path:
    """The local file of ``MODEL.WEIGHTS``, fetched into the cache when it is an address.

    Raises:
        InputError: no such file, an address that can't be fetched, or another scheme.
    """
    if name.startswith(ZOO):
        return fetch(ZOO_ADDRESS + name.removeprefix(ZOO))
    scheme, separator, _ = name.partition("://")
    if separator and scheme != "https":
        raise InputError(
            f"MODEL.WEIGHTS {name!r} has the scheme {scheme}; give a path, https:// or {ZOO}"
        )
    if separator:
        return fetch(name)
    path = Path(name).expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise InputError(f"MODEL.WEIGHTS {name} {what}; give a checkpoint file")
    return path


def fetch(address: str) -> Path:
    """The cached file of ``address``; an interrupted download goes on where it stopped.

    A file that detectron2 has in its own cache is taken from there.

    Raises:
        InputError: it can't be fetched; the line says where to put the file by hand.
    """
    parts = urlsplit(address)
    place = f"{parts.netloc.replace(':', '_')}{parts.path}".replace("..", "_")
    path = cache_dir("weights", place)
    if path.is_file():
        return path
    theirs = _detectron2_cache(parts.path)
    if theirs.is_file():
        return theirs
    partial = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in reversed(range(TRIES)):
            try:
                _download(address, partial)
                break
            except urllib.error.HTTPError:
                raise
            except (urllib.error.URLError, TimeoutError, ConnectionError, EOFError) as error:
                if left == 0 or not partial.exists():
                    raise
                logger.warning("%s: %s; trying again", address, error)
                time.sleep(1)
        os.replace(partial, path)
    except (OSError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"cannot fetch {address}: {reason}; without a network, put the file at {path}"
        ) from error
    return path


def _detectron2_cache(place: str) -> Path:
    base = os.environ.get("FVCORE_CACHE") or Path.home() / ".torch" / "iopath_cache"
    return Path(base).expanduser() / place.lstrip("/")


def _download(address: str, partial: Path) -> None:
    """Append to ``partial`` what it lacks of ``address``.

    Raises:
        EOFError: the connection closed before all had come.
    """
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing beyond: whole already, or not that file's part
            partial.unlink()
            return _download(address, partial)
        raise
    with response:
        if response.status != 206:  # the server sends all of it again
            have = 0
        size = int(response.headers["Content-Length"]) + have
        with open(partial, "ab" if have else "wb") as file, progress(
            total=size, initial=have, desc=f"fetching {Path(address).name}", unit="B",
            unit_scale=True,
        ) as bar:
            while block := response.read(BLOCK):
                file.write(block)
                bar.update(len(block))
    if partial.stat().st_size < size:
        raise EOFError(f"the connection closed after {partial.stat().st_size} of {size} bytes")
