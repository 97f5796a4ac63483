"""What a receiver has to know beside the bitstreams: once for all, and of each image.

Both are JSON. A folder has them as lines of its manifest, a stream ahead of each bitstream.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from detectron2_patch.errors import InputError
from detectron2_patch.settings.setting import Setting

FORMAT = 1
_KIND = "detectron2_patch bitstreams"
_LONGEST = 2**16 - 1  # pixels of a side of the network's input, which bitstreams hold in 16 bits
_DIGEST = 16  # hexadecimal digits
NO_MANIFEST = "this is no manifest of bitstreams, or a damaged one; ask the sender for it again"


@dataclass(frozen=True)
class Header:
    """What holds of all images.

    Attributes:
        setting: what was sent, as ``Setting.to_json`` has it, the fitted file's digest in it.
        weights: of the sender's detector, see ``weights.parts.identity``; None where the image is
            sent, of which the sender needs no detector.
        config: digest of what decides the maps, see ``codec.fitted.map_config``; None as above.
        dataset: digest of the COCO dataset that the images are of; None of other images.
        content: digest of its images, see ``CocoDataset.content``; None as above.
    """

    setting: dict[str, Any]
    weights: dict[str, str] | None
    config: str | None
    dataset: str | None = None
    content: str | None = None

    def to_json(self) -> dict[str, Any]:
        """With kind and format in front."""
        return {"kind": _KIND, "format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, data: Any) -> Header:
        """What ``to_json`` gave.

        Raises:
            InputError: it is something else, or of a later format.
        """
        if not isinstance(data, dict) or data.get("kind") != _KIND:
            raise InputError(NO_MANIFEST)
        if data.get("format") != FORMAT:
            raise InputError(
                f"the bitstreams are of format {_shown(data.get('format'))}, and this program "
                f"knows {FORMAT}; take a later one"
            )
        fields = {key: data.get(key) for key in cls.__dataclass_fields__}
        weights = fields["weights"]
        texts = [fields["config"], fields["dataset"], fields["content"], *(weights or {}).values()]
        sound = isinstance(fields["setting"], dict) and isinstance(weights, dict | None)
        if not sound or not all(isinstance(one, str | None) for one in texts):
            raise InputError(NO_MANIFEST)
        if weights is not None and "sha256" not in weights:
            raise InputError(NO_MANIFEST)
        header = cls(**fields)  # type: ignore[arg-type]
        header.parsed()
        return header

    def parsed(self) -> Setting:
        """The setting.

        Raises:
            InputError: it has another form, or a codec that isn't known here.
        """
        try:
            return Setting.from_json(self.setting)
        except InputError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(NO_MANIFEST) from error


@dataclass(frozen=True)
class Entry:
    """One image and its bitstream.

    Attributes:
        id: of the image in its dataset, or a running number.
        file_name: of the image, as the dataset or the user gave it.
        image_size: ``(height, width)`` of the image.
        network_size: ``(h, w)`` of the network's input before padding; None where the image is
            sent.
        stored_bytes: of the image's file.
        nbytes: of the bitstream.
        digest: of the bitstream, the first digits of its SHA-256.
        source: the same of the image's file, in a folder of images that are of no dataset (a
            dataset's are told apart by ``Header.content``); None: not known.
    """

    id: int
    file_name: str
    image_size: tuple[int, int]
    network_size: tuple[int, int] | None
    stored_bytes: int
    nbytes: int
    digest: str
    source: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The same under JSON's types."""
        told = asdict(self)
        return told if self.source is not None else _without_source(told)

    @classmethod
    def from_json(cls, data: Any) -> Entry:
        """What ``to_json`` gave.

        Raises:
            InputError: it is something else.
        """
        needed = _without_source(cls.__dataclass_fields__).keys()
        if not isinstance(data, dict) or _without_source(data).keys() != needed:
            raise InputError(NO_MANIFEST)
        sizes = {}
        for key in ("image_size", "network_size"):
            sizes[key] = None if data[key] is None else _read_size(data[key], key)
        numbers = [data[key] for key in ("id", "stored_bytes", "nbytes")]
        if (
            sizes["image_size"] is None
            or not all(type(number) is int for number in numbers)
            or min(numbers[1:]) < 0
            or not isinstance(data["file_name"], str)
            or not isinstance(data["digest"], str)
            or not isinstance(data.get("source", ""), str)
        ):
            raise InputError(NO_MANIFEST)
        return cls(**{**data, **sizes})

    def check(self, data: bytes) -> None:
        """Make sure that a bitstream is this entry's.

        Raises:
            InputError: it was cut, altered, or is another's.
        """
        if len(data) != self.nbytes or content_digest(data) != self.digest:
            raise InputError(
                f"the bitstream of {self.file_name} ({len(data)} bytes) isn't the one that was "
                f"sent ({self.nbytes} bytes): cut, altered or another's; ask for it again"
            )


def _without_source(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name != "source"}


def content_digest(data: bytes) -> str:
    """What tells a bitstream from every other."""
    return hashlib.sha256(data).hexdigest()[:_DIGEST]


def read_json(text: bytes) -> Any:
    """The value of a line of JSON.

    Raises:
        InputError: it is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(NO_MANIFEST) from error


def json_line(data: Mapping[str, Any]) -> bytes:
    """As short as JSON is, in ASCII."""
    return json.dumps(data, separators=(",", ":")).encode("ascii")


def _read_size(value: Any, key: str) -> tuple[int, int]:
    most = _LONGEST if key == "network_size" else 2**31 - 1
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(type(side) is int and 0 < side <= most for side in value)
    ):
        raise InputError(NO_MANIFEST)
    return value[0], value[1]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:35]} …"
