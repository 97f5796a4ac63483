"""What the commands that sweep share: a task with its detector, dataset and results folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from common import check_fitted, describer, find_weights, prepare


def open_sweep(args: argparse.Namespace, settings: Sequence, fitted, **more):
    """A ``Sweep`` of ``settings``, everything checked that can be checked in seconds.

    ``more`` are its other attributes; without ``batch_size``, a CPU takes images one by one and a
    GPU eight at a time.
    """
    from detectron2_patch.sweep.task import Sweep

    cfg, engine, dataset = prepare(args)
    weights = find_weights(args, cfg)
    check_fitted(
        (one for setting in settings for one in setting.treatments), fitted, cfg, weights, dataset
    )
    engine.load_weights(weights)
    constant = describer(vars(args), cfg, engine, dataset, weights)

    def describe(setting, results, payload, seconds):
        return constant(setting=setting, results=results, payload=payload, seconds=seconds)

    more.setdefault("batch_size", 1 if engine.model.device.type == "cpu" else 8)
    return Sweep(
        engine,
        dataset,
        settings,
        describe,
        Path(args.results_dir),
        readers=cfg.DATALOADER.NUM_WORKERS,
        fitted=fitted,
        **more,
    )
