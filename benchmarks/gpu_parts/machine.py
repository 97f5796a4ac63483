"""What the figures are of: card, driver, versions."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import torch

from detectron2_patch.utils.machine import usable_cores
from detectron2_patch.utils.versions import collect_versions


def no_device(device: str) -> str | None:
    """Why ``device`` can't be used, in one line; ``None`` where it can."""
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0]
    return None


def describe(device: str) -> dict[str, Any]:
    """Card, driver and versions, as the JSON has them."""
    found: dict[str, Any] = {"device": torch.device(device).type, "cores": usable_cores()}
    if torch.device(device).type == "cuda":
        card = torch.cuda.get_device_properties(device)
        found |= {
            "card": card.name,
            "memory_MiB": card.total_memory >> 20,
            "capability": f"{card.major}.{card.minor}",
            "driver": _driver(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "tf32_convolutions": torch.backends.cudnn.allow_tf32,
            "tf32_products": torch.backends.cuda.matmul.allow_tf32,
        }
    else:
        found["threads"] = torch.get_num_threads()
    return {**found, "versions": collect_versions()}


def file_stem(machine: dict[str, Any], small: bool) -> str:
    """A file's name for a machine: its card's, in small letters."""
    card = re.sub(r"[^a-z0-9]+", "-", machine.get("card", machine["device"]).lower()).strip("-")
    return f"small-{card}" if small else card


def _driver() -> str | None:
    """The driver's version, which torch doesn't tell."""
    if shutil.which("nvidia-smi") is None:
        return None
    line = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=30)
    return (done.stdout.splitlines() or [None])[0] if done.returncode == 0 else None
