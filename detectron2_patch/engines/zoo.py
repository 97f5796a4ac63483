"""detectron2's model zoo, read from the installed files.

``detectron2.model_zoo`` itself imports ``pkg_resources``, which setuptools 82 and later lack, so
neither it nor detectron2 is imported here.
"""

from __future__ import annotations

import ast
import os
from functools import cache
from importlib import util
from pathlib import Path

from detectron2_patch.errors import InputError

_TABLE = "CONFIG_PATH_TO_URL_SUFFIX"


def find_config(name: str) -> Path:
    """The file of ``--config-file``: a path, else the zoo's short name of a configuration.

    What is neither comes back as it is, to be refused by the one who reads it.

    Raises:
        InputError: a LazyConfig, which is Python and not YAML.
    """
    if name.endswith(".py"):
        raise InputError(
            f"--config-file {name} is a LazyConfig, which is not read; give a YAML configuration"
        )
    path = Path(os.path.expanduser(name))
    if not path.exists() and (folder := _folder()) is not None:
        short = folder / "configs" / name
        path = short if short.is_file() else path
    return path


def zoo_weights(config_file: Path) -> str | None:
    """``detectron2://…`` of the detector trained by a configuration of the zoo, if it is one."""
    folder = _folder()
    if folder is None or not config_file.is_relative_to(folder / "configs"):
        return None
    name = config_file.relative_to(folder / "configs").with_suffix("").as_posix()
    suffix = _suffixes().get(name)
    return f"detectron2://{name}/{suffix}" if suffix else None


@cache
def _folder() -> Path | None:
    spec = util.find_spec("detectron2")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "model_zoo"


@cache
def _suffixes() -> dict[str, str]:
    """Configuration to the end of its weights' address: the zoo's table, without running it."""
    folder = _folder()
    if folder is None:
        return {}
    file = folder / "model_zoo.py"
    tree = ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else ast.Module([], [])
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == _TABLE:
            return ast.literal_eval(node.value)
    return {}
