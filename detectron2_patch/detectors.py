"""A detector ready to run, from Python: the demo's, or yours by configuration and checkpoint."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from detectron2_patch.config import load_cfg
from detectron2_patch.demo import WEIGHTS
from detectron2_patch.engines.base import Engine
from detectron2_patch.engines.choice import (
    AUTO,
    ENGINES,
    build_engine,
    check_config,
    choose_device,
    choose_engine,
)
from detectron2_patch.engines.zoo import find_config, zoo_weights
from detectron2_patch.errors import InputError
from detectron2_patch.weights import resolve_weights

DEMO_CONFIG = Path(__file__).parent.parent / "configs" / "demo.yaml"


def load_demo(*, engine: str = AUTO, device: str | None = None) -> Engine:
    """The detector that is shipped, trained on the demo's scenes; evaluate it on ``"demo_val"``.

        detector = load_demo()
        evaluate(detector, "demo_val", "--scope pyramid --bits 4")

    Args:
        engine: ``auto``, ``torchvision`` or ``detectron2``.
        device: ``cpu``, ``cuda``, ``cuda:1`` …; left out: a GPU where there is one.

    Raises:
        InputError: an engine or device that isn't there, or no checkout of the project, whose
            ``configs/`` the demo needs.
    """
    if not DEMO_CONFIG.is_file():
        raise InputError(
            f"the demo's configuration {DEMO_CONFIG} is not there; install a checkout of the "
            "project with pip install -e ."
        )
    return load_detector(DEMO_CONFIG, WEIGHTS, engine=engine, device=device)


def load_detector(
    config: str | os.PathLike,
    weights: str | os.PathLike | None = None,
    overrides: Sequence[str] = (),
    *,
    engine: str = AUTO,
    device: str | None = None,
) -> Engine:
    """A detector from detectron2's YAML and a checkpoint, whole and ready to evaluate.

        detector = load_detector("mine.yaml", "model_final.pth")
        found = detector.detect(detector.read("photo.jpg"))  # boxes, scores, classes

    Args:
        config: the file, or the zoo's short name where detectron2 is installed.
        weights: a path, an ``https://`` address or the zoo's ``detectron2://…``; left out: what
            the configuration names, or the zoo's file for it.
        overrides: ``KEY``, ``VALUE``, … of the configuration, such as
            ``["INPUT.MIN_SIZE_TEST", "640"]``.
        engine: ``auto``, ``torchvision`` or ``detectron2``.
        device: ``cpu``, ``cuda``, ``cuda:1`` …; left out: a GPU where there is one.

    Returns:
        an ``Engine``: ``evaluate`` takes it, ``patch_pyramid`` too, and its ``model`` is the
        detector.

    Raises:
        InputError: a file that is missing or isn't what it should be, a configuration that the
            engine can't honour, weights that don't fit, no weights, or a device that can't be used.
    """
    if engine not in ENGINES:
        raise InputError(f"engine {engine!r} is unknown; choose one of {', '.join(ENGINES)}")
    path = find_config(os.fspath(config))
    cfg = load_cfg(path, [str(word) for word in overrides])
    name, _ = choose_engine(engine, cfg)
    check_config(name, cfg, training=False)
    file = _weights(weights, cfg, path)
    built = build_engine(name, cfg, choose_device(device, cfg))
    built.load_weights(file)
    return built


def _weights(given: str | os.PathLike | None, cfg, config: Path) -> Path:
    name = os.fspath(given) if given is not None else zoo_weights(config) or cfg.MODEL.WEIGHTS
    if not name or name.startswith("detectron2://ImageNetPretrained/"):
        named = f"the backbone {name}" if name else "no weights"
        raise InputError(
            f"{config} names {named}, and a trained detector is needed; give its checkpoint: "
            "load_detector(config, weights)"
        )
    return resolve_weights(name)
