"""What stands in a receiver's model where the backbone would be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class Received(nn.Module):
    """Gives, for whatever image, the maps that came over the wire. It has no parameter.

    Args:
        size_divisibility: of the backbone that it stands for.
        padding_constraints: of the same, where detectron2's has some.
        shapes: what its ``output_shape`` gives, where names don't tell the levels.

    Attributes:
        names: what the detector calls each level; its own name where none is given.
    """

    def __init__(
        self, size_divisibility: int, padding_constraints: Any = None, shapes: Any = None
    ) -> None:
        super().__init__()
        self.names: Mapping[str, str] = {}
        self._shapes = shapes or {}
        self.size_divisibility = size_divisibility
        self.padding_constraints = padding_constraints or {}
        self._maps: dict[str, Tensor] | None = None

    @contextmanager
    def giving(self, maps: Mapping[str, Tensor]) -> Iterator[None]:
        """Within the block the maps ``(C, H, W)`` are those of the next image."""
        self._maps = {self.names.get(level, level): one[None] for level, one in maps.items()}
        try:
            yield
        finally:
            self._maps = None

    def output_shape(self) -> Any:
        """Of the backbone that it stands for."""
        return self._shapes

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The maps, ``(1, C, H, W)`` each."""
        if self._maps is None:
            raise RuntimeError("a receiver's detector ran without maps")
        return self._maps
