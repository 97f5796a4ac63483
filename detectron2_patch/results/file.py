"""Result files: written whole or not at all, read back, and the clean one of a setting found."""

from __future__ import annotations

import errno
import gzip
import json
import logging
import os
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2_patch.errors import InputError
from detectron2_patch.results import packing
from detectron2_patch.results.identity import older_name, result_name
from detectron2_patch.results.schema import checked, from_origin, is_origin
from detectron2_patch.settings.levels import SCOPES
from detectron2_patch.settings.setting import Setting
from detectron2_patch.utils.files import atomic_write

logger = logging.getLogger(__name__)


def write_result(result: Mapping[str, Any], folder: str | os.PathLike) -> Path:
    """Write a result under its name, whole or not at all; returns the path. The same evaluation
    of an older version, which has another name, goes.

    Raises:
        InputError: the folder can't be written or the disk is full.
    """
    path = Path(folder) / result_name(result)
    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    with atomic_write(path) as file:
        file.write(text.encode("ascii"))
    older = path.with_name(older_name(result))
    if older != path:
        older.unlink(missing_ok=True)
    return path


def check_folder(folder: str | os.PathLike, flag: str = "--results-dir") -> None:
    """Make sure, before hours of work, that files can be written to a folder.

    Nothing stays behind: a folder that doesn't exist yet is left to ``write_result``, and tried
    by means of the nearest one that does.

    Args:
        flag: what names the folder.

    Raises:
        InputError: it can't be written.
    """
    what = "results " if flag == "--results-dir" else ""
    if not os.fspath(folder).strip():
        raise InputError(f"the {what}folder has an empty name; give {flag} a folder")
    try:
        _try(_nearest(Path(os.path.abspath(folder))))
    except (OSError, ValueError) as error:  # ValueError: a name that can't be one, such as NUL
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot write {what}to {flag} {_shown(folder)}: {reason}; choose a folder that can be "
            "written and has space"
        ) from error


def check_writable(path: Path) -> None:
    """Try whether a file can be written, without a trace.

    Raises:
        OSError: its folder can't be written, or is on a full disk, or its name is too long.
        ValueError: its name holds what none can.
    """
    _try(_nearest(Path(os.path.abspath(path)).parent))
    _check_name(path.name, path.parent)


def _try(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(1 << 16))  # more than a result takes: a full disk shows here
        file.flush()
        os.fsync(file.fileno())


def _shown(path: str | os.PathLike) -> str:
    """A path that is printed: its odd characters escaped, and not endless."""
    text = os.fspath(path)
    return text if text.isprintable() and len(text) < 300 else ascii(text)[:300]


def _nearest(folder: Path) -> Path:
    """The nearest folder that exists.

    Raises:
        OSError: a name below it is too long to be made.
        ValueError: a name holds what none can.
    """
    nearest = folder
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    for name in folder.relative_to(nearest).parts:
        _check_name(name, nearest)
    return nearest


def _check_name(name: str, folder: Path) -> None:
    if "\0" in name:
        raise ValueError("a name holds NUL")
    # atomic_write puts 14 characters around it meanwhile
    if len(os.fsencode(name)) + 14 > os.pathconf(folder, "PC_NAME_MAX"):
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))


def load_results(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Read a result file, or all below a folder, by ascending path.

    A ``.json.gz`` holds many (see ``packing``). The origin's files, ``[args, results]``, are read
    as its code ran them (``from_origin``). Below a folder other JSON files are skipped with one
    warning, and in silence what this project made from results and names with a dot in front.

    Raises:
        InputError: no such path, or a file asked for by name that is no result.
    """
    path = Path(path)
    if not path.is_dir():
        return load_file(path)
    results, skipped = [], []
    for file in result_files(path):
        try:
            results += load_file(file)
        except Derived:
            pass
        except InputError as error:
            skipped.append(str(error))
    if skipped:
        logger.warning("skipped %d files: %s", len(skipped), "; ".join(skipped))
    if not results:
        logger.warning("no results in %s", path)
    return results


class Derived(InputError):
    """A file that this project made from results, such as the key levels."""


def result_files(folder: Path) -> list[Path]:
    """The files below a folder that may hold results, by ascending path; no hidden ones."""
    return sorted(
        file
        for pattern in ("*.json", f"*{packing.SUFFIX}")
        for file in folder.rglob(pattern)
        if not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def load_file(file: Path) -> list[dict[str, Any]]:
    """The results in one file, packed or not, the origin's too.

    Raises:
        Derived: it holds something made from results.
        InputError: it can't be read or holds no result.
    """
    try:
        raw = file.read_bytes()
    except ValueError as error:  # a name that none can have, such as NUL
        raise InputError(f"cannot read {file}: {error}") from error
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from error
    try:
        if file.name.endswith(packing.SUFFIX):
            raw = gzip.decompress(raw)
        # parse_constant: the origin's json.dump wrote NaN where no object has a size
        data = json.loads(raw, parse_constant=lambda _: None)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {file}: {reason}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not valid JSON: {error}") from error
    kind = data.get("kind") if isinstance(data, dict) and not packing.is_packed(data) else None
    if isinstance(kind, str) and kind.startswith("detectron2_patch "):
        raise Derived(f"{file} holds no results but {kind}; give the results it was made from")
    try:
        if packing.is_packed(data):
            return [checked(one) for one in packing.unpack(data)]
        return [from_origin(*data) if is_origin(data) else checked(data)]
    except ValueError as error:
        raise InputError(f"{file} is not a result: {error}") from error


def find_clean(result: Mapping[str, Any], folder: str | os.PathLike) -> dict[str, Any] | None:
    """The result of the same evaluation of the clean pyramid, somewhere below ``folder``.

    The clean pyramid gives one answer in both scopes, so either will do. None for a clean
    ``result`` itself, and where there is none.
    """
    if Setting.from_json(result["setting"]).is_clean:
        return None
    clean = [Setting(scope=scope).to_json() for scope in SCOPES]
    names = [
        name({**result, "setting": setting})
        for name in (result_name, older_name)
        for setting in clean
    ]
    for name in names:
        for file in sorted(Path(folder).rglob(name)):
            try:
                return load_file(file)[0]
            except InputError:  # cut off while it was copied
                continue
    for file in sorted(Path(folder).rglob(f"*{packing.SUFFIX}")):
        try:
            found = load_file(file)
        except InputError:  # no result, or damaged: load_results tells of it
            continue
        for one in found:
            # the origin's files say nothing of their dataset
            if one["dataset"] and one["setting"] in clean and result_name(one) in names:
                return one
    return None
