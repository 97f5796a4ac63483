"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from detectron2_patch.errors import InputError


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path``; it takes that name when the block ends well.

    The folder is made when missing. On any error the temporary is removed and an older file
    of that name stays as it was.

    Raises:
        InputError: the folder can't be written or the disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}"), "xb") as file:
            temporary = file.name
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"cannot write {path}: {reason}; choose a folder that can be written and has space"
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def add_line(path: Path, line: str) -> None:
    """Add a line to a text file, which is made where it is missing.

    Raises:
        InputError: it can't be written.
    """
    with _added_to(path), open(path, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def check_appendable(path: Path) -> None:
    """Make sure that lines can be added to a file, whose folder is made where it is missing.

    Raises:
        InputError: they can't.
    """
    with _added_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        open(path, "a").close()
        if not path.stat().st_size:
            path.unlink()


@contextmanager
def _added_to(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; move it away, or choose a folder "
            "that can be written and has space"
        ) from error


def sha256(path: str | os.PathLike) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def home() -> Path | None:
    """The user's folder; None for a user who has none, as in a bare container."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def cache_dir(*parts: str) -> Path:
    """Where downloads and generated data are kept: ``$DETECTRON2_PATCH_CACHE``, else
    ``detectron2_patch`` below ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Raises:
        InputError: none of these is given and the user has no home folder.
    """
    given, shared, own = (
        os.environ.get("DETECTRON2_PATCH_CACHE"),
        os.environ.get("XDG_CACHE_HOME"),
        home(),
    )
    if not given and not shared and own is None:
        raise InputError(
            "this user has no home folder to keep downloads and the demo's images in; set "
            "DETECTRON2_PATCH_CACHE to a folder that can be written"
        )
    base = Path(given or Path(shared or (own or Path()) / ".cache") / "detectron2_patch")
    return Path(os.path.expanduser(base)).joinpath(*parts)


def shown_path(path: str | os.PathLike) -> str:
    """A path as a result tells it: from the working folder or ``~`` where it lies below, so that
    a result says nothing of the machine that it doesn't have to."""
    absolute = Path(path).absolute()
    for base, prefix in ((Path.cwd(), Path()), (home(), Path("~"))):
        if base is not None and absolute.is_relative_to(base):
            return str(prefix / absolute.relative_to(base))
    return os.fspath(path)
