"""What a result holds: made from plain values, checked when it is read.

A result is a plain dict: schema, args, setting, results, payload, dataset, weights, config,
engine, versions, seconds, codecs (encoders, their effort and versions) where some were used, and
bootstrap where a sweep was asked for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.box_matching import SIZES
from detectron2_patch.settings.codecs import Codec
from detectron2_patch.settings.cost import with_cost
from detectron2_patch.settings.levels import LEVELS, MAX, SCOPES, check_levels
from detectron2_patch.settings.parsing import parse_setting
from detectron2_patch.settings.setting import RPN, Setting
from detectron2_patch.utils.files import shown_path
from detectron2_patch.utils.json_values import json_value
from detectron2_patch.utils.versions import collect_versions

SCHEMA = 2  # 2: what is sent once is part of total_bytes, bits_per_pixel and smaller
_KEYS = (
    "args",
    "setting",
    "results",
    "payload",
    "dataset",
    "weights",
    "config",
    "engine",
    "versions",
    "seconds",
)


def make_result(
    *,
    args: Mapping[str, Any],
    setting: Setting,
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
        setting: what was evaluated.
        results: {"bbox": {"AP": …}} in percent.
        config_digest: of the part of the configuration that can change an evaluation's outcome.
        versions: see ``collect_versions``, which is asked when this is left out.
    """
    result = {
        "schema": SCHEMA,
        "args": args,
        "setting": setting.to_json(),
        "results": results,
        "payload": payload,
        "dataset": {
            "name": dataset.name,
            "json": shown_path(dataset.json_file),
            "images": shown_path(dataset.image_root),
            "image_count": len(dataset.images),
            "digest": dataset.digest,
            "content": dataset.content,
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
    told = {one.word: one.details() for one in setting.treatments if isinstance(one, Codec)}
    if any(told.values()):
        result["codecs"] = told
    return json_value(result)


def is_origin(data: Any) -> bool:
    """Whether ``data`` is what the origin's code wrote: ``[args, results]``."""
    return isinstance(data, list) and [type(part) for part in data] == [dict, dict]


def from_origin(args: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    """A result from the origin's file; None for all that the file doesn't tell.

    Its code zipped ``cr`` with P2 … P6 from the left and ignored the rest. Two entries are its
    proposed method (P3 and P5 sent): P4 = cr[0] * P5 stretched + cr[1] * P3 shrunk.
    """
    cr = args.get("cr")
    if not isinstance(cr, list) or not all(type(r) in (int, float) for r in cr):
        raise ValueError('its arguments have no list of numbers "cr"')
    if len(cr) == 2:
        treatments = parse_setting(restore=[f"origin:{cr[1]!r},{cr[0]!r}"])
        setting = Setting.of(treatments, RPN)
    elif len(cr) >= len(LEVELS):
        setting = Setting.of(dict(zip(LEVELS, cr)), RPN)
    else:
        raise ValueError(f'"cr" has {len(cr)} entries; two, or five and more, have a meaning')
    result: dict[str, Any] = dict.fromkeys(_KEYS)
    result.update(
        schema=SCHEMA, args=args, setting=setting.to_json(), results=results, engine="detectron2"
    )
    result["config"] = {"file": args.get("config_file"), "digest": None}
    return checked(result)


def checked(data: Any) -> dict[str, Any]:
    """A result that was read, in today's form.

    Raises:
        ValueError: it is none, or of a later schema.
    """
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
    if not _are_ratios(setting.get("cr"), setting):
        raise ValueError('its setting has no "cr" with a ratio for each level, such as p2 to p6')
    Setting.from_json(setting)
    bbox = data["results"].get("bbox") if isinstance(data["results"], dict) else None
    if not isinstance(bbox, dict) or "AP" not in bbox:
        raise ValueError('its results have no "bbox" with an "AP"')
    if not all(value is None or type(value) in (int, float) for value in bbox.values()):
        raise ValueError('its "bbox" holds something other than numbers')
    if "bootstrap" in data and not _is_bootstrap(data["bootstrap"]):
        raise ValueError('its "bootstrap" has not "replicates" numbers for each size')
    return upgraded(data)


def upgraded(result: dict[str, Any]) -> dict[str, Any]:
    """A result of an earlier schema in today's: its costs count what is sent once.

    Raises:
        ValueError: it is of a later schema, or its payload tells only some of what makes its cost.
    """
    schema = result.get("schema", 1)
    if schema == SCHEMA:
        return result
    if type(schema) is not int or not 0 < schema < SCHEMA:
        raise ValueError(f"its schema is {schema!r}, and this program knows 1 to {SCHEMA}")
    payload = result["payload"]
    if payload and "total_bytes" in payload:
        try:
            payload = with_cost(payload)
        except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
            raise ValueError(f"the cost of its payload can't be reckoned: {error!r}") from error
    return {"schema": SCHEMA, **result, "payload": payload}


def _is_bootstrap(found: Any) -> bool:
    """Whether ``found`` is as ``bootstrap.Bootstrap.describe`` makes it."""
    if not (
        isinstance(found, dict)
        and type(found.get("replicates")) is int
        and type(found.get("seed")) is int
        and isinstance(found.get("bbox"), dict)
    ):
        return False
    return found["replicates"] > 0 and all(
        isinstance(values := found["bbox"].get(size), list)
        and len(values) == found["replicates"]
        and all(value is None or type(value) in (int, float) for value in values)
        for size in SIZES
    )


def _are_levels(names: Sequence[str]) -> bool:
    try:
        return bool(check_levels(names))
    except InputError:
        return False


def _are_ratios(cr: Any, setting: Mapping[str, Any]) -> bool:
    """Whether each level that is sent has a ratio and no other has."""
    sent = setting.get("send", cr)
    return (
        isinstance(cr, dict)
        and isinstance(sent, (list, tuple, dict))
        and _are_levels(sorted(cr))
        and all(
            (r == MAX or (type(r) in (int, float) and r >= 1)) if level in sent else r is None
            for level, r in cr.items()
        )
    )
