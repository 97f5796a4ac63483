"""The parts in the order in which they run, most wanted first, and how long each may take."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

from gpu_parts.bench import Bench


class Part(NamedTuple):
    """A function ``run(bench, *arguments)`` of a module, and the most seconds that it may take."""

    title: str
    module: str
    function: str
    arguments: tuple
    limit: float

    def run(self, bench: Bench) -> None:
        """Do it; its module is imported here, by the process that runs it alone."""
        module = import_module(f"gpu_parts.{self.module}")
        getattr(module, self.function)(bench, *self.arguments)


PARTS = {
    "images": Part("The images, made by code", "data", "run", (), 90),
    "demo": Part("The demo beside the CPU", "demo", "run", (), 90),
    "speed": Part("The zoo's detectors, random weights", "speed", "run", (), 120),
    "onepass-1": Part("X101-FPN in one pass, batch 1", "onepass", "run", (1,), 150),
    "gap": Part("One pass beside one by one, X101-FPN", "onepass", "run_gap", (), 100),
    "training": Part("Training the demo", "training", "run", (), 150),
    "coding": Part("Fitting and coding, R50-FPN", "coding", "run", (), 90),
    "onepass-4": Part("X101-FPN in one pass, batch 4", "onepass", "run", (4,), 150),
}
