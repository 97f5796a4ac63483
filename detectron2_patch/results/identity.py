"""What tells one evaluation from another: a result's file name, and what is comparable.

A result's file name carries what was evaluated and a hash over it, so that only the same
evaluation, done again, replaces a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import MAX
from detectron2_patch.utils.json_values import digest

_DATASET = ("name", "digest", "content")


def result_name(result: Mapping[str, Any]) -> str:
    """File name of a result: readable parts, then a hash over everything that tells it apart.

    ``<config>_<dataset>_<engine>_<scope>_cr-<P2>-…-<P6>_<12 hexadecimal digits>.json``, of safe
    ASCII characters and at most 200 of them.
    """
    setting, dataset = result["setting"], result["dataset"]
    identity = digest(
        {
            "setting": setting,
            "dataset": [dataset[key] for key in _DATASET if dataset.get(key) is not None],
            "weights": result["weights"]["sha256"],
            "config": result["config"]["digest"],
            "engine": result["engine"],
        }
    )
    ratios = setting["cr"].values()
    shown = "-".join(["cr", *(_shown_ratio(ratio) for ratio in ratios)])
    if "bits" in setting:
        shown += "_bits-" + "-".join(
            str(setting["bits"].get(level, "x")) for level in setting["cr"]
        )
    for key in ("pyramid", "image"):
        if key in setting:
            shown = f"{key}-{setting[key]['codec']}"
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


def older_name(result: Mapping[str, Any]) -> str:
    """File name of the same evaluation by an older version, which didn't look into the images."""
    dataset = {key: value for key, value in result["dataset"].items() if key != "content"}
    return result_name({**result, "dataset": dataset})


class Model(NamedTuple):
    """What results have to share to be compared; None: the file doesn't tell.

    ``dataset_digest`` is over the JSON and the images' sizes, ``content`` over the images.
    """

    dataset: str | None
    dataset_digest: str | None
    content: str | None
    weights: str | None
    config: str | None
    engine: str


def model_of(result: Mapping[str, Any]) -> Model:
    """Dataset, weights, configuration and engine of a result, or of something made from some."""
    dataset, weights = result["dataset"] or {}, result["weights"] or {}
    return Model(
        dataset.get("name"),
        dataset.get("digest"),
        dataset.get("content"),
        weights.get("sha256"),
        (result.get("config") or {}).get("digest"),
        result["engine"],
    )


def models_of(results: Sequence[Mapping[str, Any]]) -> list[Model]:
    """``model_of`` each result. One that doesn't tell its images' content, from before results did
    so, is taken to have that of the others of its model, where these have one."""
    models = [model_of(result) for result in results]
    contents: dict[Model, set[str]] = {}
    for one in models:
        if one.content is not None:
            contents.setdefault(one._replace(content=None), set()).add(one.content)
    return [
        one._replace(content=next(iter(contents[one])))
        if one.content is None and len(contents.get(one, ())) == 1
        else one
        for one in models
    ]


def check_one_model(results: Iterable[Mapping[str, Any]]) -> None:
    """Make sure that results can be compared.

    Raises:
        InputError: they are of several models or datasets; names two.
    """
    results = list(results)
    models = dict(zip(models_of(results), results))
    if len(models) > 1:
        one, other = list(models.values())[:2]
        names = [
            f"{r['dataset']['name']} with {r['weights']['path']} on {r['engine']}"
            for r in (one, other)
        ]
        if names[0] == names[1]:
            names[1] = f"the same with other {_differing(model_of(one), model_of(other))}"
        raise InputError(
            f"results of {len(models)} models or datasets, such as {names[0]} and {names[1]}; "
            "give the results of one"
        )


def _differing(one: Model, other: Model) -> str:
    """What is behind equal names."""
    said = {
        "dataset_digest": "annotations or images",
        "content": "images of the same names",
        "config": "configuration",
    }
    keys = [key for key in one._fields if getattr(one, key) != getattr(other, key)]
    return " and ".join(said.get(key, key) for key in keys)
