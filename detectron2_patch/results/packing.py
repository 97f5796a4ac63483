"""Thousands of results in one small file: what they share once, what differs as columns.

Lossless: ``unpack(pack(results)) == results``.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from detectron2_patch.errors import InputError
from detectron2_patch.utils.files import atomic_write

SUFFIX = ".json.gz"
_KIND = "detectron2_patch results"


def pack(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One JSON object that holds ``results``.

    ``common`` has the path and value of what all share, ``columns`` the path and values of what
    differs, and, where only some results have it, the numbers of those.

    Raises:
        InputError: there are none.
    """
    tables = [dict(_leaves(result)) for result in results]
    if not tables:
        raise InputError("no results to pack; give a folder that has some")
    common, columns = [], []
    for path in dict.fromkeys(path for table in tables for path in table):
        rows = [number for number, table in enumerate(tables) if path in table]
        values = [tables[number][path] for number in rows]
        if len(rows) < len(tables):
            columns.append([path, values, rows])
        elif all(_same(value, values[0]) for value in values):
            common.append([path, values[0]])
        else:
            columns.append([path, values])
    return {"kind": _KIND, "count": len(tables), "common": common, "columns": columns}


def is_packed(data: Any) -> bool:
    """Whether ``data`` is what ``pack`` returns."""
    return isinstance(data, dict) and data.get("kind") == _KIND


def unpack(packed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The results that ``pack`` was given.

    Raises:
        ValueError: ``packed`` is damaged.
    """
    try:
        found: list[dict[str, Any]] = [{} for _ in range(packed["count"])]
        for path, value in packed["common"]:
            for result in found:
                _put(result, path, value)
        for path, values, *some in packed["columns"]:
            rows = some[0] if some else range(len(found))
            if len(values) != len(rows):
                raise ValueError(f"{path} has {len(values)} of {len(rows)} values")
            for row, value in zip(rows, values):
                _put(found[row], path, value)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"it is damaged: {error!r}") from error
    return found


def write_packed(results: Sequence[Mapping[str, Any]], path: str | os.PathLike) -> None:
    """Write ``results`` to a ``.json.gz``, whole or not at all; equal results give equal bytes.

    Raises:
        InputError: no results, or the file can't be written.
    """
    text = json.dumps(pack(results), separators=(",", ":"), allow_nan=False)
    data = gzip.compress(text.encode("ascii"), mtime=0)
    with atomic_write(path) as file:
        file.write(data)


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping) and value:
        for key, entry in value.items():
            yield from _leaves(entry, (*path, key))
    else:
        yield path, value


def _put(result: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for key in path[:-1]:
        result = result.setdefault(key, {})
    result[path[-1]] = value


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other
