"""What a file was made from, against what it is to be used with: a detector, its images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from detectron2_patch.errors import InputError
from detectron2_patch.utils.files import sha256


def image_key(path: str | os.PathLike) -> str:
    """What tells an image file apart: 16 hexadecimal digits."""
    return sha256(path)[:16]


class Provenance:
    """Of a file with ``meta``: weights (SHA-256 of the detector's file), backbone (see
    ``fitted.backbone_digest``; not in older files), config (see ``fitted.map_config``), images
    (each one's key).

    Attributes:
        flag: that the file was given by.
        done, do: how it was made, as in "was trained on" and "train".
        help: which command makes another.
    """

    meta: Mapping[str, Any]
    flag: str
    done: str
    do: str
    help: str

    def check_detector(self, weights_sha256: str, config: str) -> None:
        """Make sure that it was made for the maps of that file's detector under that
        configuration. Where it knows the backbone, that decides, once the model is there
        (``check_backbone``): other heads read the same maps.

        Raises:
            InputError: it was made for others.
        """
        if "backbone" not in self.meta and self.meta["weights"] != weights_sha256:
            raise InputError(
                f"{self.flag} {self.done} another detector (weights {self.meta['weights'][:12]}, "
                f"and here {weights_sha256[:12]}); {self.do} one on this: {self.help}"
            )
        if self.meta["config"] != config:
            raise InputError(
                f"{self.flag} {self.done} this detector with another INPUT or backbone "
                f"configuration, whose maps are others; {self.do} again: {self.help}"
            )

    def check_backbone(self, digest: str) -> None:
        """Make sure that it was made for the maps of this backbone.

        Raises:
            InputError: it was made for another's.
        """
        if self.meta.get("backbone", digest) != digest:
            raise InputError(
                f"{self.flag} {self.done} another detector, whose maps are others; {self.do} one "
                f"on this: {self.help}"
            )

    def check_images(self, paths: Sequence[str | os.PathLike]) -> None:
        """Make sure that it wasn't made with an image of an evaluation.

        Raises:
            InputError: it was; names the image.
        """
        seen = set(self.meta["images"])
        for path in paths:
            if os.path.exists(path) and image_key(path) in seen:
                raise InputError(
                    f"{self.flag} {self.done} {path}, which is to be evaluated; {self.do} on "
                    "training images only"
                )
