"""Configuration files: YAML on top of the ``_BASE_`` files that it names."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from detectron2_patch.config.arithmetic import arithmetic
from detectron2_patch.config.defaults import default_values
from detectron2_patch.errors import InputError

BASE = "_BASE_"
VERSION = 2


def read_values(config_file: str | Path, cfg: CfgNode) -> dict[str, tuple[Any, Path]]:
    """Each key, with its dots, that a file or its bases set: the value and whose it is.

    Where several files set a key the upper one has the word, and only its value counts, as in
    detectron2.

    Args:
        cfg: holds every key there is.

    Raises:
        InputError: a file that can't be read as a configuration, or an unknown key.
    """
    path = Path(os.path.expanduser(config_file))
    return {
        key: (value, file)
        for file, content in _with_bases(path, (), "check --config-file")
        for key, value in _flat(content, cfg, file)
    }


def one_line(message: str) -> InputError:
    """The error of ``message``, in one line even where it quotes a key or path that isn't."""
    return InputError(" ".join(message.splitlines()))


def shorten(text: str) -> str:
    """Enough of a long value to know it again."""
    return text if len(text) <= 80 else f"{text[:77]}..."


def unknown_key(name: str) -> str:
    """What to say of a key that detectron2 doesn't have."""
    known = list(default_values())
    below = [key for key in known if key.startswith(f"{name}.")]
    if below:
        return f"{name} is a section; name a key below it, such as {below[0]}"
    close = difflib.get_close_matches(name.upper(), known, n=1)
    hint = f"did you mean {close[0]}?" if close else "see detectron2's configuration reference"
    return f"unknown configuration key {shorten(name)}; {hint}"


def _with_bases(
    path: Path, above: tuple[str, ...], remedy: str
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The files to merge, in order: the lowest base first, ``path`` last."""
    content = _read(path, remedy)
    resolved = os.path.realpath(path)
    if resolved in above:
        raise one_line(f"{path} is its own {BASE}; remove the circle")
    for base in _bases(content, path):
        base_path = path.parent / os.path.expanduser(base)
        yield from _with_bases(base_path, (*above, resolved), f"it is the {BASE} of {path}")
    yield path, content


def _bases(content: dict[str, Any], path: Path) -> list[str]:
    """Take ``_BASE_``, one file or a list of them, out of ``content``."""
    bases = content.pop(BASE, [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise one_line(f"{path}: {BASE} is {shorten(repr(bases))}; give a file or a list of files")
    for base in bases:
        if base.startswith(("http://", "https://")):
            raise one_line(f"{path}: {BASE} {base} is not fetched; save it and name the file")
    return bases


def _read(path: Path, remedy: str) -> dict[str, Any]:
    """One YAML file as a mapping: plain values, and the sums that detectron2's RetinaNet has in
    Python; no tag ever runs code."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # a SafeLoader
    except OSError as error:
        raise one_line(f"cannot read configuration {path}: {error.strerror}; {remedy}") from error
    except UnicodeDecodeError as error:
        raise one_line(f"{path} is not a YAML file: it is not UTF-8 text") from error
    except yaml.YAMLError as error:
        raise one_line(_yaml_problem(path, error)) from error
    except (ValueError, RecursionError) as error:  # 2021-13-45, 0x_, a thousand brackets
        raise one_line(f"{path} is not plain YAML: {error}") from error
    if content is None:
        raise one_line(f"configuration {path} is empty")
    if not isinstance(content, dict):
        raise one_line(f"configuration {path} holds no KEY: VALUE mapping")
    version = content.get("VERSION", VERSION)
    if version != VERSION:
        raise one_line(
            f"{path}: VERSION is {version!r}; only version {VERSION} of detectron2's keys is "
            "read: let detectron2 convert the file"
        )
    return content


class _Loader(yaml.SafeLoader):
    """Plain values, and ``!!python/object/apply:eval`` of arithmetic, worked out here."""


def _sums(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    (text,) = loader.construct_sequence(node)
    try:
        return arithmetic(text)
    except (ValueError, SyntaxError, TypeError, ArithmeticError, RecursionError) as error:
        raise yaml.constructor.ConstructorError(
            None, None, f"{shorten(repr(text))} is no arithmetic", node.start_mark
        ) from error


_Loader.add_constructor("tag:yaml.org,2002:python/object/apply:eval", _sums)


def _yaml_problem(path: Path, error: yaml.YAMLError) -> str:
    """PyYAML tells a mistake over several lines, with a picture: make it ``file:line:column``."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f"{path} is not plain YAML: {error}"
    where = f"{path}:{mark.line + 1}:{mark.column + 1}"
    return f"{where} is not plain YAML: {error.problem}"


def _flat(
    content: Mapping[Any, Any], cfg: CfgNode, path: Path, prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Keys with dots and their values; refuses what ``cfg`` doesn't have."""
    for key, value in content.items():
        name = f"{prefix}{key}"
        if key not in cfg:
            raise one_line(f"{path}: {unknown_key(name)}")
        if not isinstance(cfg[key], CfgNode):
            yield name, value
        elif isinstance(value, dict):
            yield from _flat(value, cfg[key], path, f"{name}.")
        else:
            raise one_line(
                f"{path}: {name} is {shorten(repr(value))}; it is a section with keys below"
            )
