"""detectron2's checkpointer, made to run no code of the file and to leave nothing at random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from detectron2_patch.errors import InputError
from detectron2_patch.settings.halves import WHOLE
from detectron2_patch.training import checkpoints
from detectron2_patch.weights.checkpoint import read_checkpoint, read_content
from detectron2_patch.weights.load import hint
from detectron2_patch.weights.names import without_wrappings
from detectron2_patch.weights.parts import belongs

COUNTERS = ".num_batches_tracked"  # a norm's count of batches, which decides nothing
FEW = 3


class Checkpointer(DetectionCheckpointer):
    """``DetectionCheckpointer`` that reads pickles safely.

    Attributes:
        part: that the model is of a detector; the file's other tensors aren't looked at.
        lacking: the parameters that the last file didn't hold, or held in another shape.
        last: the checkpoint to go on from, where it has been looked for.
        needs_all: such parameters are refused by the caller, and not listed here.
    """

    part: str = WHOLE
    lacking: list[str] = []
    needs_all: bool = False
    last: Path | None = None

    def _load_file(self, filename: str) -> dict[str, Any]:
        """As detectron2 reads them: its own files, a bare state dict, or Caffe2's blobs."""
        content = read_content(filename)
        if isinstance(content.get("model"), dict):
            return {**content, "model": self._own(content["model"])}
        if not filename.endswith(".pkl"):
            return {"model": self._own(content)}
        blobs = content.get("blobs", content)
        model = {name: blob for name, blob in blobs.items() if not name.endswith("_momentum")}
        return {"model": model, "__author__": "Caffe2", "matching_heuristics": True}

    def _own(self, tensors: dict[str, Any]) -> dict[str, Any]:
        """Those of the part, by detectron2's names."""
        found = {n: one for n, one in tensors.items() if isinstance(one, torch.Tensor)}
        return {n: one for n, one in without_wrappings(found).items() if belongs(n, self.part)}

    def get_checkpoint_file(self) -> str:
        return str(self.last or checkpoints.last_path(Path(self.save_dir)))

    def save(self, name: str, **more: Any) -> None:
        """Whole or not at all, so that a disk that fills leaves the one before."""
        if self.save_dir and self.save_to_disk:
            parts = {key: one.state_dict() for key, one in self.checkpointables.items()}
            state = {"model": self.model.state_dict(), **parts, **more}
            checkpoints.save(Path(self.save_dir), name, state)

    def _load_model(self, checkpoint: dict[str, Any]):
        incompatible = super()._load_model(checkpoint)
        misshapen = [name for name, *_ in incompatible.incorrect_shapes]
        lacking = [*incompatible.missing_keys, *misshapen]
        self.lacking = [name for name in lacking if not name.endswith(COUNTERS)]
        return incompatible

    def _log_incompatible_keys(self, incompatible) -> None:
        if not (self.needs_all and self.lacking):
            super()._log_incompatible_keys(incompatible)


def load_whole(model: nn.Module, path: Path, part: str = WHOLE) -> None:
    """Fill every parameter of ``model``, or of what it is of a detector, from a checkpoint.

    Raises:
        InputError: the file can't be read, or parameters are missing, have another shape, or
            hold NaN or infinity.
    """
    checkpointer = Checkpointer(model)
    checkpointer.part, checkpointer.needs_all = part, True
    checkpointer.load(str(path))
    lacking = checkpointer.lacking
    if lacking:
        more = f" and {len(lacking) - FEW} more" if len(lacking) > FEW else ""
        told = hint(read_checkpoint(path), model.state_dict())
        raise InputError(
            f"weights {path} don't fit the configuration: they lack, or have in another shape, "
            f"{', '.join(lacking[:FEW])}{more}"
            f"{told or '; give the checkpoint of this model'}"
        )
    for name, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise InputError(
                f"weights {path}: {name} holds NaN or infinity; use another checkpoint"
            )
