"""The result of one evaluation: its JSON file, that file's name, and reading it back.

A result is a plain dict: args, setting, results, payload, dataset, weights, config, engine,
versions, seconds, and bootstrap where a sweep was asked for it. Its file name carries what was
evaluated and a hash over it, so that only the same evaluation, done again, replaces a file.
"""

from __future__ import annotations

import gzip
import json
import logging
import math
import os
import re
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from detectron2_patch import packing
from detectron2_patch.box_matching import SIZES
from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.errors import InputError
from detectron2_patch.files import atomic_write, shown_path
from detectron2_patch.plain import digest, json_value
from detectron2_patch.ratios import LEVELS, MAX, SCOPES
from detectron2_patch.treatments import Treatment, all_levels, setting_to_json
from detectron2_patch.versions import collect_versions

logger = logging.getLogger(__name__)

_KEYS = ("args", "setting", "results", "payload", "dataset", "weights", "config", "engine",
         "versions", "seconds")  # fmt: skip


def make_setting(
    treatments: Mapping[str, float | str | Treatment], scope: str, fitted: str | None = None
) -> dict[str, Any]:
    """A setting as results hold it (``treatments.setting_to_json``).

    Args:
        treatments: level to treatment or ratio (``inf`` or "max" is 1x1); left out: clean.
        fitted: SHA-256 of the file of fitted parts, told where one is used.

    Raises:
        InputError: an unknown level or scope, or a ratio below 1.
    """
    if scope not in SCOPES:
        raise InputError(f"scope {scope!r} is unknown; choose {' or '.join(SCOPES)}")
    given = {level: math.inf if one == MAX else one for level, one in treatments.items()}
    return setting_to_json(all_levels(given), scope, fitted)


def make_result(
    *,
    args: Mapping[str, Any],
    setting: Mapping[str, Any],
    results: Mapping[str, Mapping[str, float | None]],
    payload: Mapping[str, Any],
    dataset: CocoDataset,
    weights_path: str | os.PathLike,
    weights_sha256: str,
    config_digest: str,
    config_file: str | os.PathLike | None,
    engine: str,
    seconds: float,
    versions: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Assemble a result from plain values, ready for JSON (NaN and inf become None).

    Args:
        args: the arguments as given.
        setting: see ``make_setting``.
        results: {"bbox": {"AP": …}} in percent.
        config_digest: of the part of the configuration that can change an evaluation's outcome.
        versions: see ``collect_versions``, which is asked when this is left out.
    """
    result = {
        "args": args,
        "setting": setting,
        "results": results,
        "payload": payload,
        "dataset": {
            "name": dataset.name,
            "json": shown_path(dataset.json_file),
            "images": shown_path(dataset.image_root),
            "image_count": len(dataset.images),
            "digest": dataset.digest,
        },
        "weights": {"path": shown_path(weights_path), "sha256": weights_sha256},
        "config": {
            "file": None if config_file is None else shown_path(config_file),
            "digest": config_digest,
        },
        "engine": engine,
        "versions": collect_versions(engine=engine) if versions is None else versions,
        "seconds": seconds,
    }
    return json_value(result)


def result_name(result: Mapping[str, Any]) -> str:
    """File name of a result: readable parts, then a hash over everything that tells it apart.

    ``<config>_<dataset>_<engine>_<scope>_cr-<P2>-…-<P6>_<12 hexadecimal digits>.json``, of safe
    ASCII characters and at most 200 of them.
    """
    setting, dataset = result["setting"], result["dataset"]
    identity = digest({
        "setting": setting,
        "dataset": [dataset["name"], dataset["digest"]],
        "weights": result["weights"]["sha256"],
        "config": result["config"]["digest"],
        "engine": result["engine"],
    })  # fmt: skip
    ratios = (setting["cr"][level] for level in LEVELS)
    shown = "-".join(["cr", *(_shown_ratio(ratio) for ratio in ratios)])
    if "bits" in setting:
        shown += "_bits-" + "-".join(str(setting["bits"].get(level, "x")) for level in LEVELS)
    parts = (
        PurePath(result["config"]["file"] or "defaults").stem,
        dataset["name"],
        result["engine"],
        setting["scope"],
    )
    return "_".join([*(_safe(part)[:32] for part in parts), _safe(shown), identity[:12]]) + ".json"


def _shown_ratio(ratio: int | float | str | None) -> str:
    if ratio is None:  # not sent
        return "x"
    return MAX if ratio == MAX else f"{ratio:.6g}"


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip(".-") or "unnamed"


def write_result(result: Mapping[str, Any], folder: str | os.PathLike) -> Path:
    """Write a result under its name, whole or not at all; returns the path.

    Raises:
        InputError: the folder can't be written or the disk is full.
    """
    path = Path(folder) / result_name(result)
    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    with atomic_write(path) as file:
        file.write(text.encode("ascii"))
    return path


def check_folder(folder: str | os.PathLike) -> None:
    """Make sure, before hours of work, that results can be written to a folder.

    Nothing stays behind: a folder that doesn't exist yet is left to ``write_result``, and tried
    by means of the nearest one that does.

    Raises:
        InputError: it can't be written.
    """
    nearest = Path(os.path.abspath(folder))
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    try:
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(bytes(1 << 16))  # more than a result takes: a full disk shows here
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(
            f"cannot write results to {folder}: {error.strerror or error}; choose a folder that "
            "can be written and has space"
        ) from error


def load_results(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Read a result file, or all below a folder, by ascending path.

    A ``.json.gz`` holds many (see ``packing``). The origin's files, ``[args, results]``, are read
    as its code ran them (``_from_origin``). Below a folder other JSON files are skipped with one
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
            return [_checked(one) for one in packing.unpack(data)]
        return [_from_origin(*data) if _is_origin(data) else _checked(data)]
    except ValueError as error:
        raise InputError(f"{file} is not a result: {error}") from error


def _is_origin(data: Any) -> bool:
    return isinstance(data, list) and [type(part) for part in data] == [dict, dict]


def _from_origin(args: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    """A result from the origin's file; None for all that the file doesn't tell.

    Its code zipped ``cr`` with P2 … P6 from the left and ignored the rest. Two entries are its
    proposed method (P3 and P5 sent): P4 = cr[0] * P5 stretched + cr[1] * P3 shrunk.
    """
    cr = args.get("cr")
    if not isinstance(cr, list) or not all(type(r) in (int, float) for r in cr):
        raise ValueError('its arguments have no list of numbers "cr"')
    if len(cr) == 2:
        setting = {"cr": None, "scope": "rpn", "weights": {"p5": cr[0], "p3": cr[1]}}
    elif len(cr) >= len(LEVELS):
        setting = make_setting(dict(zip(LEVELS, cr)), "rpn")
    else:
        raise ValueError(f'"cr" has {len(cr)} entries; two, or five and more, have a meaning')
    result = dict.fromkeys(_KEYS)
    result.update(args=args, setting=setting, results=results, engine="detectron2")
    result["config"] = {"file": args.get("config_file"), "digest": None}
    return _checked(result)


def _checked(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValueError("it holds no JSON object")
    missing = [key for key in _KEYS if key not in data]
    if missing:
        raise ValueError(f"it has no {', '.join(missing)}")
    for key in ("args", "payload", "dataset", "weights", "config", "versions"):
        if not isinstance(data[key], (dict, type(None))):
            raise ValueError(f'its "{key}" is no JSON object')
    setting = data["setting"]
    if not isinstance(setting, dict) or setting.get("scope") not in SCOPES:
        raise ValueError(f'its setting has no "scope" of {" or ".join(SCOPES)}')
    if not _are_ratios(setting.get("cr"), setting) and "weights" not in setting:
        raise ValueError('its setting has no "cr" with a ratio for each of p2 to p6')
    bbox = data["results"].get("bbox") if isinstance(data["results"], dict) else None
    if not isinstance(bbox, dict) or "AP" not in bbox:
        raise ValueError('its results have no "bbox" with an "AP"')
    if not all(value is None or type(value) in (int, float) for value in bbox.values()):
        raise ValueError('its "bbox" holds something other than numbers')
    if "bootstrap" in data and not _is_bootstrap(data["bootstrap"]):
        raise ValueError('its "bootstrap" has not "replicates" numbers for each size')
    return data


def _is_bootstrap(found: Any) -> bool:
    """Whether ``found`` is as ``bootstrap.Bootstrap.describe`` makes it."""
    if not (isinstance(found, dict) and type(found.get("replicates")) is int
            and type(found.get("seed")) is int and isinstance(found.get("bbox"), dict)):
        return False
    return found["replicates"] > 0 and all(
        isinstance(values := found["bbox"].get(size), list)
        and len(values) == found["replicates"]
        and all(value is None or type(value) in (int, float) for value in values)
        for size in SIZES
    )


def _are_ratios(cr: Any, setting: Mapping[str, Any]) -> bool:
    """Whether each level that is sent has a ratio and no other has."""
    sent = setting.get("send", LEVELS)
    return (
        isinstance(cr, dict)
        and isinstance(sent, (list, tuple))
        and set(cr) == set(LEVELS)
        and all(
            (r == MAX or (type(r) in (int, float) and r >= 1)) if level in sent else r is None
            for level, r in cr.items()
        )
    )


def model_of(result: Mapping[str, Any]) -> tuple[str, ...]:
    """What results have to share to be compared: dataset, weights, configuration and engine."""
    return (result["dataset"]["name"], result["dataset"]["digest"], result["weights"]["sha256"],
            result["config"]["digest"], result["engine"])


def is_clean(setting: Mapping[str, Any]) -> bool:
    """Whether a setting changes nothing."""
    return setting == {"cr": dict.fromkeys(LEVELS, 1), "scope": setting["scope"]}


def find_clean(result: Mapping[str, Any], folder: str | os.PathLike) -> dict[str, Any] | None:
    """The result of the same evaluation of the clean pyramid, somewhere below ``folder``.

    The clean pyramid gives one answer in both scopes, so either will do. None for a clean
    ``result`` itself, and where there is none.
    """
    if is_clean(result["setting"]):
        return None
    names = [result_name({**result, "setting": make_setting({}, scope)}) for scope in SCOPES]
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
            if one["dataset"] and is_clean(one["setting"]) and result_name(one) in names:
                return one
    return None
