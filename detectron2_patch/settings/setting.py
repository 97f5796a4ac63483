"""A setting: all that decides one evaluation of a given detector on a given dataset."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from detectron2_patch.errors import InputError
from detectron2_patch.settings.codecs import ImageCodec
from detectron2_patch.settings.json_form import treatments_from_json, treatments_to_json
from detectron2_patch.settings.labels import label_of
from detectron2_patch.settings.levels import LEVELS, SCOPES
from detectron2_patch.settings.parsing import parse_setting
from detectron2_patch.settings.treatments import (
    CLEAN,
    Restored,
    Sent,
    Treatment,
    all_levels,
)
from detectron2_patch.settings.words import SCOPE, arguments_of, split_flags, treatment_words

RPN, PYRAMID = SCOPES
Treatments = tuple[Treatment, ...]  # of P2 … P6


@dataclass(frozen=True)
class Setting:
    """What becomes of each level, and who reads the maps as received. Equal settings are one.

    Attributes:
        treatments: of P2 to P6; ``of`` takes a mapping.
        scope: ``rpn`` or ``pyramid``.
        fitted: SHA-256 of the file of fitted parts; empty where no treatment uses one.

    Raises:
        InputError: an unknown scope, or treatments that don't fit together.
    """

    treatments: Treatments = (CLEAN,) * len(LEVELS)
    scope: str = PYRAMID
    fitted: str = ""

    def __post_init__(self) -> None:
        if self.scope not in SCOPES:
            raise InputError(f"scope {self.scope!r} is unknown; choose {' or '.join(SCOPES)}")
        all_levels(self.by_level())
        if self.image is not None and self.scope == RPN:
            raise InputError(
                f"--image {self.image.word} in scope rpn: the whole detector sees the decoded "
                "image; give scope pyramid"
            )
        if self.fitted and not self.uses_fit:
            object.__setattr__(self, "fitted", "")

    @classmethod
    def of(
        cls, treatments: Mapping[str, float | Treatment], scope: str = PYRAMID, fitted: str = ""
    ) -> Setting:
        """From level to treatment or ratio; ``inf`` is 1x1, levels left out are clean."""
        return cls(tuple(all_levels(treatments).values()), scope, fitted)

    @classmethod
    def parse(cls, words: str | Sequence[str], fitted: Any = None) -> Setting:
        """From the words of a command line::

            Setting.parse("--send p3 p5 --restore fit --bits 4", read_fitted("demo.npz"))

        Args:
            words: flags of a setting, ``--scope`` among them (left out: ``pyramid``).
            fitted: the fitted parts (``codec.fitted.Fitted``), where there are some.

        Raises:
            InputError: words that make no setting.
        """
        try:
            given = split_flags(shlex.split(words) if isinstance(words, str) else words)
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"{words!r}: {error}") from error
        scope = given.pop(SCOPE, [PYRAMID])
        if len(scope) != 1:
            raise InputError(f"--scope got {' '.join(scope)!r}; give {' or '.join(SCOPES)}")
        arguments: dict[str, Any] = arguments_of(given)
        treatments = parse_setting(**arguments, rank_of=None if fitted is None else fitted.rank_of)
        return cls.of(treatments, scope[0], "" if fitted is None else fitted.sha256)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Setting:
        """What ``to_json`` wrote.

        Raises:
            ValueError: it has another form (InputError is one).
        """
        treatments = treatments_from_json(data)
        return cls(tuple(treatments.values()), data["scope"], data.get("fitted") or "")

    @classmethod
    def given(
        cls,
        setting: Setting | str | Mapping[str, float | Treatment],
        scope: str | None = None,
        fitted: Any = None,
    ) -> Setting:
        """From what Python callers write: a setting, words for ``parse``, or a mapping for ``of``.

        Args:
            scope: of a mapping, or of words without ``--scope``; left out: ``pyramid``.
            fitted: the fitted parts, where there are some.

        Raises:
            InputError: none of these, or a scope that contradicts the setting's own.
        """
        if isinstance(setting, str):
            return cls.parse(setting if scope is None else f"{setting} {SCOPE} {scope}", fitted)
        if isinstance(setting, Mapping):
            return cls.of(setting, PYRAMID if scope is None else scope)
        if not isinstance(setting, Setting):
            raise InputError(
                f"{setting!r} is no setting; give a Setting, words such as '--send p3 p5 --bits "
                "4', or a mapping such as {'p6': 4}"
            )
        if scope not in (None, setting.scope):
            raise InputError(
                f"scope {scope!r} of a setting of scope {setting.scope!r}; leave it out"
            )
        return setting

    def to_json(self) -> dict[str, Any]:
        """As results hold it; see ``json_form``."""
        own = treatments_to_json(self.by_level())
        setting = {"cr": own.pop("cr"), "scope": self.scope, **own}
        return {**setting, "fitted": self.fitted} if self.fitted else setting

    @property
    def words(self) -> str:
        """As on a command line, scope and ``--fitted`` aside; ``parse`` reads it."""
        return treatment_words(self.by_level())

    @property
    def label(self) -> str:
        """As people read it, in tables and figures, its scope aside."""
        return "clean" if self.is_clean else label_of(self.by_level())

    @property
    def is_clean(self) -> bool:
        """Whether it changes nothing."""
        return all(one == CLEAN for one in self.treatments)

    @property
    def is_plain(self) -> bool:
        """Whether it is five ratios and nothing else."""
        return all(isinstance(one, Sent) and one == Sent(one.ratio) for one in self.treatments)

    @property
    def ratios(self) -> tuple[float | None, ...]:
        """Of P2 to P6; None of a level that isn't sent."""
        return tuple(
            None if isinstance(one, Restored) else getattr(one, "ratio", 1.0)
            for one in self.treatments
        )

    @property
    def uses_fit(self) -> bool:
        """Whether a treatment needs the file of fitted parts."""
        return any(one.uses_fit for one in self.treatments)

    @property
    def image(self) -> ImageCodec | None:
        """The image codec, where the image is coded and not the maps."""
        first = self.treatments[0]
        return first if isinstance(first, ImageCodec) else None

    def by_level(self) -> dict[str, Treatment]:
        """The treatments as a mapping."""
        return dict(zip(LEVELS, self.treatments))

    def in_scope(self, scope: str) -> Setting:
        """The same in another scope."""
        return replace(self, scope=scope)
