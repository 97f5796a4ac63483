"""detectron2's YAML configuration, read without detectron2."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from detectron2_patch.errors import InputError

BASE = "_BASE_"
DEFAULTS = Path(__file__).parent / "defaults.yaml"


def get_cfg() -> CfgNode:
    """A fresh configuration with detectron2's keys and defaults."""
    return _defaults().clone()


def load_cfg(config_file: str | Path | None, opts: Sequence[str] = ()) -> CfgNode:
    """Defaults, then ``config_file`` on top of its ``_BASE_`` files, then ``KEY VALUE`` pairs.

    Raises:
        InputError: a file that can't be read as a configuration, an unknown key, a value of the
            wrong type, or a key without a value.
    """
    cfg = get_cfg()
    if config_file is not None:
        for path, content in _with_bases(Path(config_file), ()):
            _check_keys(content, cfg, str(path))
            _merge(cfg.merge_from_other_cfg, CfgNode(content), str(path))
    _merge_opts(cfg, list(opts))
    if cfg.VERSION != 2:
        raise InputError(f"VERSION is {cfg.VERSION}; only version 2 of detectron2's keys is read")
    return cfg


@cache
def _defaults() -> CfgNode:
    raw = yaml.safe_load(DEFAULTS.read_text(encoding="utf-8"))
    return CfgNode(_decode_tuples(raw))


def _decode_tuples(value: Any) -> Any:
    """Text in parentheses to the tuple that it spells, everywhere below."""
    if isinstance(value, dict):
        return {key: _decode_tuples(entry) for key, entry in value.items()}
    return CfgNode._decode_cfg_value(value) if str(value).startswith("(") else value


def _with_bases(path: Path, above: tuple[Path, ...]) -> Iterator[tuple[Path, dict]]:
    """The files to merge, in order: the lowest base first, ``path`` last."""
    resolved = path.expanduser().resolve()
    if resolved in above:
        raise InputError(f"{path} is its own {BASE}; remove the circle")
    content = _read(path.expanduser())
    base = content.pop(BASE, None)
    if base is not None:
        if not isinstance(base, str):
            raise InputError(f"{path}: {BASE} is {base!r}; give one file")
        yield from _with_bases(path.expanduser().parent / Path(base).expanduser(),
                               (*above, resolved))
    yield path, content


def _read(path: Path) -> dict:
    """One YAML file as a mapping; only plain values, no tag ever runs code."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"cannot read configuration {path}: {error.strerror}; check --config-file"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a YAML file: it is not UTF-8 text") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not plain YAML: {' '.join(str(error).split())}") from error
    if content is None:
        raise InputError(f"configuration {path} is empty")
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InputError(f"configuration {path} holds no KEY: VALUE mapping")
    return content


def _check_keys(content: dict, cfg: CfgNode, where: str, prefix: str = "") -> None:
    """Refuse the first key that ``cfg`` lacks, and a value where a section stands."""
    for key, value in content.items():
        name = f"{prefix}{key}"
        if key not in cfg:
            raise InputError(f"{where}: {_unknown(name)}")
        if isinstance(cfg[key], CfgNode):
            if not isinstance(value, dict):
                raise InputError(f"{where}: {name} is {value!r}; it is a section with keys below")
            _check_keys(value, cfg[key], where, f"{name}.")


def _unknown(name: str) -> str:
    known = [key for key, _ in key_values(_defaults())]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else "see detectron2's configuration reference"
    return f"unknown configuration key {name}; {hint}"


def _merge_opts(cfg: CfgNode, opts: list[str]) -> None:
    if len(opts) % 2:
        raise InputError(f"override {opts[-1]!r} has no value; overrides are KEY VALUE pairs")
    known = dict(key_values(cfg))
    for key, value in zip(opts[::2], opts[1::2]):
        if key not in known:
            raise InputError(_unknown(key))
        _merge(cfg.merge_from_list, [key, value], f"override {key} {value}")


def _merge(merge: Callable[[Any], None], what: Any, where: str) -> None:
    """yacs tells a wrong type over several lines: make it one."""
    try:
        merge(what)
    except (ValueError, AssertionError, KeyError, SyntaxError) as error:
        raise InputError(f"{where}: {' '.join(str(error).split())}") from error


def key_values(cfg: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with its dots, and its value."""
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            yield from key_values(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def result_relevant(cfg: CfgNode) -> dict[str, Any]:
    """The keys, with dots, that can change the outcome of an evaluation: what a result's name
    hashes. Every key counts unless it is known not to."""
    from detectron2_patch.config.support import EVALUATION_IGNORES, matches

    return {k: v for k, v in key_values(cfg) if not matches(k, EVALUATION_IGNORES)}
