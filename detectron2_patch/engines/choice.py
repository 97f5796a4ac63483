"""Which engine runs: the user's detectron2 where it works, the built-in one otherwise."""

from __future__ import annotations

import warnings
from importlib import metadata, util

from detectron2_patch.config.levels import is_torchvision
from detectron2_patch.errors import InputError
from detectron2_patch.settings.halves import WHOLE

AUTO, TORCHVISION, DETECTRON2 = ENGINES = ("auto", "torchvision", "detectron2")
_HELP = "docs/detectron2.md says how to install it, and --engine torchvision does without"


def choose_engine(wanted: str, cfg=None) -> tuple[str, str]:
    """The engine's name and why it is that one; ``auto`` takes detectron2 where it works.

    Args:
        cfg: the configuration, where there is one: torchvision runs its own models.

    Raises:
        InputError: detectron2 is asked for and is missing or broken.
    """
    if wanted == TORCHVISION:
        return TORCHVISION, "asked for"
    if wanted == AUTO and cfg is not None and is_torchvision(cfg):
        return TORCHVISION, f"{cfg.MODEL.META_ARCHITECTURE} is torchvision's own"
    problem = detectron2_problem()
    if problem is None:
        why = "asked for" if wanted == DETECTRON2 else "it is installed"
        return DETECTRON2, f"{why}, version {metadata.version('detectron2')}"
    if wanted == DETECTRON2:
        raise InputError(f"--engine detectron2: {problem}; {_HELP}")
    return TORCHVISION, f"{problem}; {_HELP}" if is_installed() else problem


def is_installed() -> bool:
    """Whether Python would find a detectron2, working or not."""
    return util.find_spec("detectron2") is not None


def detectron2_problem() -> str | None:
    """What keeps detectron2 from being used; ``None`` where it works."""
    if not is_installed():
        return "detectron2 is not installed"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of what detectron2 uses of torch
            import torch  # noqa: F401  its libraries have to be loaded before detectron2's
            from detectron2 import _C, modeling  # noqa: F401  the compiled part tells the most
    except Exception as error:  # a build for another torch, or Python, fails in many ways
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        return f"detectron2 is installed but broken, build it again for this torch ({reason})"
    return None


def choose_device(wanted: str | None, cfg) -> str:
    """The device that is ``wanted``, else the one of ``MODEL.DEVICE``: a GPU where there is one.

    Raises:
        InputError: it can't be used.
    """
    import torch

    if wanted is None:  # detectron2's default is "cuda", so only another value says something
        found = "cuda" if torch.cuda.is_available() else "cpu"
        wanted = found if cfg.MODEL.DEVICE == "cuda" else cfg.MODEL.DEVICE
    try:
        return str(torch.zeros(0, device=wanted).device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0][:160]
        if reason.startswith("Expected one of"):  # of all kinds that there are
            reason = "there is no such kind of device"
        raise InputError(f"device {wanted!r} can't be used: {reason}; try --device cpu") from error


def check_config(engine: str, cfg, training: bool) -> None:
    """Make sure that ``engine`` does what ``cfg`` says.

    Raises:
        InputError: the first key whose value it can't honour.
    """
    if engine == DETECTRON2:
        from detectron2_patch.engines.detectron2_config import check_supported
    elif is_torchvision(cfg):
        from detectron2_patch.config.torchvision import check_supported
    else:
        from detectron2_patch.config.support import check_supported
    check_supported(cfg, training)


def build_engine(engine: str, cfg, device: str, part: str = WHOLE):
    """The engine of that name with its model for ``cfg``, or ``part`` of it (see
    ``settings.halves``), on ``device``, weights at random."""
    if engine == DETECTRON2:
        from detectron2_patch.engines.detectron2 import Detectron2Engine

        return Detectron2Engine(cfg, device, part)
    if is_torchvision(cfg):
        from detectron2_patch.engines.torchvision_models import TorchvisionModelEngine

        return TorchvisionModelEngine(cfg, device, part)
    from detectron2_patch.engines.torchvision import TorchvisionEngine

    return TorchvisionEngine(cfg, device, part)
