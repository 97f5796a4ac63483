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
from detectron2_patch.settings.levels import LEVELS, SCOPES, check_levels, how_many, span
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
Treatments = tuple[Treatment, ...]  # of each level, finest first


@dataclass(frozen=True)
class Setting:
    """What becomes of each level, and who reads the maps as received. Equal settings are one.

    Attributes:
        treatments: of each level, finest first; ``of`` takes a mapping.
        scope: ``rpn`` or ``pyramid``.
        fitted: SHA-256 of the file of fitted parts; empty where no treatment uses one.
        levels: the detector's, finest first.

    Raises:
        InputError: an unknown scope, or treatments that don't fit together.
    """

    treatments: Treatments = (CLEAN,) * len(LEVELS)
    scope: str = PYRAMID
    fitted: str = ""
    levels: tuple[str, ...] = LEVELS

    def __post_init__(self) -> None:
        if len(self.treatments) != len(self.levels):
            raise InputError(
                f"{len(self.treatments)} treatments; give {how_many(check_levels(self.levels))}"
            )
        if self.scope not in SCOPES:
            raise InputError(f"scope {self.scope!r} is unknown; choose {' or '.join(SCOPES)}")
        all_levels(self.by_level(), self.levels)
        if self.image is not None and self.scope == RPN:
            raise InputError(
                f"--image {self.image.word} in scope rpn: the whole detector sees the decoded "
                "image; give scope pyramid"
            )
        if self.fitted and not self.uses_fit:
            object.__setattr__(self, "fitted", "")

    @classmethod
    def of(
        cls,
        treatments: Mapping[str, float | Treatment],
        scope: str = PYRAMID,
        fitted: str = "",
        levels: tuple[str, ...] = LEVELS,
    ) -> Setting:
        """From level to treatment or ratio; ``inf`` is 1x1, levels left out are clean."""
        return cls(tuple(all_levels(treatments, levels).values()), scope, fitted, levels)

    @classmethod
    def parse(
        cls, words: str | Sequence[str], fitted: Any = None, levels: tuple[str, ...] = LEVELS
    ) -> Setting:
        """From the words of a command line::

            Setting.parse("--send p3 p5 --restore fit --bits 4", read_fitted("demo.npz"))

        Args:
            words: flags of a setting, ``--scope`` among them (left out: ``pyramid``).
            fitted: the fitted parts (``codec.fitted.Fitted``), where there are some.
            levels: the detector's.

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
        rank_of = None if fitted is None else fitted.rank_of
        treatments = parse_setting(**arguments, rank_of=rank_of, levels=levels)
        return cls.of(treatments, scope[0], "" if fitted is None else fitted.sha256, levels)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Setting:
        """What ``to_json`` wrote.

        Raises:
            ValueError: it has another form (InputError is one).
        """
        treatments = treatments_from_json(data)
        fitted = data.get("fitted") or ""
        return cls(tuple(treatments.values()), data["scope"], fitted, tuple(treatments))

    @classmethod
    def given(
        cls,
        setting: Setting | str | Mapping[str, float | Treatment],
        scope: str | None = None,
        fitted: Any = None,
        levels: tuple[str, ...] = LEVELS,
    ) -> Setting:
        """From what Python callers write: a setting, words for ``parse``, or a mapping for ``of``.

        Args:
            scope: of a mapping, or of words without ``--scope``; left out: ``pyramid``.
            fitted: the fitted parts, where there are some.
            levels: the detector's. A clean setting is one of any levels.

        Raises:
            InputError: none of these, a scope that contradicts the setting's own, or a setting of
                other levels.
        """
        if isinstance(setting, str):
            words = setting if scope is None else f"{setting} {SCOPE} {scope}"
            return cls.parse(words, fitted, levels)
        if isinstance(setting, Mapping):
            return cls.of(setting, PYRAMID if scope is None else scope, levels=levels)
        if not isinstance(setting, Setting):
            raise InputError(
                f"{setting!r} is no setting; give a Setting, words such as '--send p3 p5 --bits "
                "4', or a mapping such as {'p6': 4}"
            )
        if scope not in (None, setting.scope):
            raise InputError(
                f"scope {scope!r} of a setting of scope {setting.scope!r}; leave it out"
            )
        if setting.levels != levels and not setting.is_clean:
            raise InputError(
                f"a setting of {span(setting.levels)}, and the detector has {span(levels)}; give "
                f"those: --levels {' '.join(levels)!r}, in Python levels={levels}"
            )
        return setting if setting.levels == levels else cls.of({}, setting.scope, levels=levels)

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
    def installed_bytes(self) -> int:
        """Of the file that both sides must have beforehand, which no payload counts; mostly 0."""
        return max(getattr(one, "installed_bytes", None) or 0 for one in self.treatments)

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
        """Whether it is ratios and nothing else."""
        return all(isinstance(one, Sent) and one == Sent(one.ratio) for one in self.treatments)

    @property
    def ratios(self) -> tuple[float | None, ...]:
        """Of each level; None of one that isn't sent."""
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
        return dict(zip(self.levels, self.treatments))

    def in_scope(self, scope: str) -> Setting:
        """The same in another scope."""
        return replace(self, scope=scope)
