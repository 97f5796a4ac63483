"""Names to classes: what can be chosen by a word, the project's own and whatever a user registers.

A class of the project is one line below, and is imported when its name is first asked for, so that
``--help`` costs nothing. A class from outside is registered by a decorator::

    @IMAGE_CODECS.register
    class Mine(ImageCodec):
        name = "mine"
        ...
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, TypeVar

from detectron2_patch.errors import InputError

T = TypeVar("T", bound=type)


class Registry:
    """Classes by their ``name``.

    Args:
        kind: what they are, as a message says it.
        own: the project's, name to ``module:Class`` below ``detectron2_patch``.
    """

    def __init__(self, kind: str, own: Mapping[str, str]) -> None:
        self.kind = kind
        self._own = dict(own)
        self._classes: dict[str, Any] = {}

    def register(self, cls: T) -> T:
        """Add a class under its ``name``; for use as a decorator.

        Raises:
            InputError: the name is another class's.
        """
        name: str = cls.name  # type: ignore[attr-defined]
        if name in self.names() and self._classes.get(name) is not cls:
            raise InputError(f"there is a {self.kind} {name!r} already; choose another name")
        self._classes[name] = cls
        return cls

    def unregister(self, name: str) -> None:
        """Take out what ``register`` added."""
        self._classes.pop(name, None)

    def names(self) -> list[str]:
        """All names, the project's first."""
        return list(dict.fromkeys([*self._own, *self._classes]))

    def get(self, name: str) -> Any:
        """The class of a name.

        Raises:
            InputError: none has it.
        """
        if name not in self._classes:
            if name not in self._own:
                known = ", ".join(self.names()) or "none is registered"
                raise InputError(f"{name!r} is no {self.kind}; choose one of: {known}")
            module, _, attribute = self._own[name].partition(":")
            self._classes[name] = getattr(import_module(f"detectron2_patch.{module}"), attribute)
        return self._classes[name]


LEVEL_CODECS = Registry("codec of a level", {})
PYRAMID_CODECS = Registry(
    "codec of the pyramid",
    {"frames": "codec.frames:Frames", "learned": "codec.learned.codec:LearnedCodec"},
)
IMAGE_CODECS = Registry(
    "image codec",
    {
        "jpeg": "codec.images.pillow:Jpeg",
        "webp": "codec.images.pillow:Webp",
        "avif": "codec.images.pillow:Avif",
        "jxl": "codec.images.jxl:Jxl",
        "hevc": "codec.images.video:Hevc",
        "av1": "codec.images.video:Av1",
    },
)
RESTORERS = Registry(
    "restorer",
    {
        "finer": "codec.restore:Finer",
        "coarser": "codec.restore:Coarser",
        "mix": "codec.restore:Mix",
        "subsample": "codec.restore:Subsample",
        "fit": "codec.restore:Fit",
    },
)
# The codecs of the pyramid that have an option of their own; others are --pyramid NAME:ARGUMENTS.
PYRAMID_FLAGS = {"--frames": "frames", "--codec": "learned"}
