"""Coded frames: the pyramid tiled into one grey picture and coded by a video codec.

The anchor of feature coding for machines (MPEG's FCM and VCM tile P2 to P5 and code them by VTM):
every channel of every sent level is a tile, values become 10 bits, x265 codes one intra picture.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detectron2_patch.codec.images.video import (
    X265,
    decode_picture,
    encode_picture,
    need_encoder,
    versions,
)
from detectron2_patch.codec.quantise import Range, check_map, measure_range, to_half
from detectron2_patch.codec.varint import read_varint, varint
from detectron2_patch.errors import InputError
from detectron2_patch.settings.codecs import PyramidCodec, Size
from detectron2_patch.settings.levels import ANY, LEVELS, wire_levels

BITS = 10
WIRE = wire_levels(LEVELS)
RANGES = ("level", "channel")
PRESET = "medium"
_TOP = 2**BITS - 1
_GREY = 2 ** (BITS - 1)  # of the picture where no tile is
_SHORTEST, _LONGEST = 16, 16384  # sides that x265 takes
_USE = (
    "write hevc:QP with QP from 0 to 51, then what is wanted of /LEVELS (each perhaps =RANK), "
    "/rank=RANK and /channel, such as hevc:30, hevc:30/p3,p5 or hevc:30/p2=32,p3,p4,p5/channel"
)


@dataclass(frozen=True)
class Frames(PyramidCodec):
    """Levels as one picture in HEVC, intra, monochrome, 10 bits, at a constant QP.

    Attributes:
        qp: quantisation parameter, 0 to 51; a step of 6 doubles the error.
        sent: the levels in the picture, by ascending level.
        ranks: of each, how many principal components (those of the fitted file, the strongest
            first) are sent in the place of its channels; 0: the channels as they are.
        range: what shares a range of values, which is sent: a ``level``, or each ``channel``.
    """

    qp: int
    sent: tuple[str, ...] = WIRE
    ranks: tuple[int, ...] = ()
    range: str = "level"

    name = "frames"

    def __post_init__(self) -> None:
        sent = tuple(level for level in ANY if level in self.sent)
        ranks = tuple(self.ranks) or (0,) * len(self.sent)
        by_level = dict(zip(self.sent, ranks))
        if not sent or len(sent) != len(self.sent) or len(ranks) != len(sent):
            raise InputError(f"coded frames of {', '.join(self.sent) or 'nothing'}; {_USE}")
        if self.qp not in range_of_qp() or self.range not in RANGES:
            raise InputError(f"coded frames at QP {self.qp!r}, range {self.range!r}; {_USE}")
        if not all(type(rank) is int and rank >= 0 for rank in ranks):
            raise InputError(f"coded frames of ranks {ranks}; {_USE}")
        object.__setattr__(self, "sent", sent)
        object.__setattr__(self, "ranks", tuple(by_level[level] for level in sent))

    @classmethod
    def parse(cls, arguments: str) -> Frames:
        return cls.parse_for(arguments, LEVELS)

    @classmethod
    def parse_for(cls, arguments: str, levels: Sequence[str]) -> Frames:
        """Where no levels are named, P2 to P5 are meant, or all of a detector without these."""
        head, *options = arguments.split("/")
        found = re.fullmatch(r"hevc:(\d{1,2})", head)
        if not found:
            raise InputError(f"coded frames {arguments!r}; {_USE}")
        given: dict[str, Any] = {}
        for option in options:
            key, value = _option(option, arguments)
            if key in given:
                raise InputError(f"coded frames {arguments!r} have two words for {key}; {_USE}")
            given[key] = value
        wire = WIRE if set(WIRE) <= set(levels) else wire_levels(levels)
        sent = given.pop("levels", dict.fromkeys(wire, 0))
        rank = given.pop("rank", 0)
        if rank and any(sent.values()):
            raise InputError(f"coded frames {arguments!r} have two ranks for a level; {_USE}")
        ranks = tuple(rank or one for one in sent.values())
        return cls(int(found[1]), tuple(sent), ranks, **given)

    def with_words(self, levels: Sequence[str] | None, words: Mapping[str, Any]) -> Frames:
        """``--send``, ``--rank`` and ``--range`` in the place of the words behind ``/``."""
        kinds = set(words.get("range", {}).values())
        if "ratio" in words or len(kinds) > 1:
            raise InputError(f"{self.word} takes no ratios, and one range for all levels; {_USE}")
        sent = self.sent if levels is None else tuple(levels)
        ranks = words.get("rank") or dict(zip(self.sent, self.ranks))
        return Frames(
            self.qp, sent, tuple(ranks.get(level, 0) for level in sent), *(kinds or {self.range})
        )

    @property
    def word(self) -> str:
        return f"{self.name}:{self.arguments}"

    @property
    def arguments(self) -> str:
        """What follows ``--frames``."""
        parts = [f"hevc:{self.qp}"]
        same = len(set(self.ranks)) == 1
        if self.sent != WIRE or not same:
            ranks = self.ranks if not same else (0,) * len(self.sent)
            parts.append(",".join(f"{x}={k}" if k else x for x, k in zip(self.sent, ranks)))
        if same and self.ranks[0]:
            parts.append(f"rank={self.ranks[0]}")
        if self.range != RANGES[0]:
            parts.append(self.range)
        return "/".join(parts)

    @property
    def label(self) -> str:
        return f"frames HEVC {self.arguments.removeprefix('hevc:').replace('/', ' ')}"

    @property
    def family(self) -> str:
        """The curve that it is a point of: all but its QP."""
        _, _, rest = self.word.partition("/")
        return f"frames/{rest}" if rest else "frames"

    @property
    def levels(self) -> tuple[str, ...]:
        return self.sent

    @property
    def uses_fit(self) -> bool:  # type: ignore[override]
        return any(self.ranks)

    def to_json(self) -> dict[str, Any]:
        fields = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}
        return {"codec": self.name, "version": self.version, **fields}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Frames:
        return cls(data["qp"], tuple(data["sent"]), tuple(data["ranks"]), data["range"])

    def check(self) -> None:
        need_encoder("libx265", self.word)

    def details(self) -> dict[str, Any]:
        effort = f"{PRESET}, tune psnr, intra, constant QP, grey, {BITS} bits"
        return {"encoder": "x265", "effort": effort, **versions(self.word)}

    def side_bytes(self, fitted: Any) -> dict[str, int]:
        """The directions and the mean of each level that is sent by components, float32."""
        ranks = zip(self.sent, self.ranks)
        return {"basis": sum(4 * (k + 1) * fitted.channels(level) for level, k in ranks if k)}

    def encode(self, pyramid: Mapping[str, Tensor], fitted: Any) -> bytes:
        """Of each level how many tiles it has and its range, then the picture, then a CRC-32."""
        head, tiles = b"", {}
        for level, rank in zip(self.sent, self.ranks):
            values = _projected(level, pyramid[level], rank, fitted)
            check_map(values)
            packed, ends = _packed_range(measure_range(values, self.range == "channel"))
            head += varint(len(values)) + packed
            tiles[level] = _quantised(values, ends)
        layout = Layout({level: one.shape for level, one in tiles.items()})
        if max(layout.size) > _LONGEST:
            raise InputError(
                f"{self.word} makes a picture of {layout.size[1]}x{layout.size[0]}, and x265 takes "
                f"{_LONGEST} a side; give ranks, or fewer levels"
            )
        try:
            stream = encode_picture("libx265", [layout.tile(tiles)], "gray10le", self._options())
        except OSError as error:
            raise InputError(f"{self.word} failed: {error}; choose another QP") from error
        return self._sealed(head + stream, fitted)

    def decode(
        self, data: bytes, sizes: Mapping[str, Size], fitted: Any, device: Any
    ) -> dict[str, Tensor]:
        body = data[:-4]
        if len(data) < 5 or self._sealed(body, fitted) != data:
            raise InputError(f"the bytes of {self.word} are damaged; ask for them again")
        try:
            shapes, ranges, at = self._read_head(body, sizes)
            planes = decode_picture("hevc", body[at:])
            tiles = Layout(shapes).cut(planes[0])
        except (OSError, ValueError) as error:
            raise InputError(
                f"the bytes of {self.word} make no sense ({error}); ask for them again"
            ) from error
        maps = {}
        for level, rank in zip(self.sent, self.ranks):
            values = _dequantised(tiles[level], ranges[level], device)
            maps[level] = _expanded(level, values, rank, fitted)
        return maps

    def _read_head(self, data: bytes, sizes: Mapping[str, Size]):
        shapes, ranges, at = {}, {}, 0
        for level in self.sent:
            channels, at = read_varint(data, at)
            if not channels:
                raise ValueError("a level of no channels")
            shapes[level] = (channels, *sizes[level])
            ranges[level], at = _read_range(data, at, channels if self.range == "channel" else 1)
        return shapes, ranges, at

    def _options(self) -> dict[str, str]:
        # by squared error: what pleases the eye does nothing for a detector's maps
        return {"preset": PRESET, "tune": "psnr", "x265-params": f"qp={self.qp}:{X265}"}

    def _sealed(self, body: bytes, fitted: Any) -> bytes:
        """With a checksum of it and of what both sides have agreed on."""
        context = self.word + (fitted.sha256 if self.uses_fit and fitted is not None else "")
        return body + struct.pack("<I", zlib.crc32(body, zlib.crc32(context.encode())))


def range_of_qp() -> range:
    """HEVC's quantisation parameters."""
    return range(52)


class Layout:
    """Where each tile lies in the picture, from the levels' shapes ``(k, h, w)`` alone.

    A level's tiles lie row by row, the level's below those of the level before. The first level
    has as many tiles a row as rows (16 for 256 channels); the others fill its width.

    Attributes:
        size: ``(H, W)`` of the picture.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = shapes
        (count, _, width), *others = shapes.values()
        columns = math.isqrt(count - 1) + 1
        wide = max([_SHORTEST, columns * width, *(w for _, _, w in others)])
        self._columns = {level: max(1, wide // w) for level, (_, _, w) in shapes.items()}
        rows = {level: -(-k // self._columns[level]) * h for level, (k, h, _) in shapes.items()}
        self.size = max(_SHORTEST, sum(rows.values())), wide
        self._tops = {}
        top = 0
        for level, high in rows.items():
            self._tops[level], top = top, top + high

    def _places(self, level: str) -> Iterator[tuple[slice, slice]]:
        count, height, width = self.shapes[level]
        for index in range(count):
            row, column = divmod(index, self._columns[level])
            top, left = self._tops[level] + row * height, column * width
            yield slice(top, top + height), slice(left, left + width)

    def tile(self, tiles: Mapping[str, np.ndarray]) -> np.ndarray:
        """The picture ``(H, W)`` uint16 of the levels' tiles ``(k, h, w)``."""
        picture = np.full(self.size, _GREY, "<u2")
        for level, maps in tiles.items():
            for place, one in zip(self._places(level), maps):
                picture[place] = one
        return picture

    def cut(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """The levels' tiles of a picture.

        Raises:
            ValueError: it has another size.
        """
        if picture.shape != self.size or picture.dtype != np.uint16:
            raise ValueError(f"a picture of {picture.shape}, not of {self.size}")
        return {
            level: np.stack([picture[place] for place in self._places(level)])
            for level in self.shapes
        }


def _projected(level: str, feature: Tensor, rank: int, fitted: Any) -> Tensor:
    """``(C, h, w)`` -> ``(k, h, w)``: its strongest principal components."""
    if not rank:
        return feature.detach().float()
    basis, mean = _parts(fitted).basis(level, rank, feature.device)
    return (basis @ (feature - mean).flatten(1)).unflatten(1, feature.shape[-2:])


def _expanded(level: str, values: Tensor, rank: int, fitted: Any) -> Tensor:
    """``(k, h, w)`` -> ``(C, h, w)``."""
    if not rank:
        return values
    basis, mean = _parts(fitted).basis(level, rank, values.device)
    if len(values) != len(basis):
        raise InputError(f"{len(values)} components of {level}, not {len(basis)}; ask again")
    return (basis.T @ values.flatten(1)).unflatten(1, values.shape[-2:]) + mean


def _parts(fitted: Any) -> Any:
    if fitted is None:
        raise InputError(
            "ranks of coded frames need fitted parts; give --fitted FILE, which tools/fit.py makes"
        )
    return fitted


def _quantised(values: Tensor, ends: Range) -> np.ndarray:
    low, high = (end.double().numpy()[:, None, None] for end in ends)
    scale = np.divide(_TOP, high - low, out=np.zeros_like(low), where=high > low)
    steps = np.rint((values.cpu().double().numpy() - low) * scale)
    return np.clip(steps, 0, _TOP).astype("<u2")


def _dequantised(tiles: np.ndarray, ends: Range, device: Any) -> Tensor:
    """On the CPU first, so that every device has the same values."""
    low, high = (end.double().numpy()[:, None, None] for end in ends)
    values = low + (high - low) * (np.minimum(tiles, _TOP) / _TOP)
    return torch.from_numpy(values.astype(np.float32)).to(device)


def _packed_range(ends: Range) -> tuple[bytes, Range]:
    """The range as it is sent, in float16 where that is hardly wider, and as it is used."""
    half = to_half(ends)
    dtype, ends = ("<f4", ends) if half is None else ("<f2", half)
    values = b"".join(end.numpy().astype(dtype).tobytes() for end in ends)
    return bytes([half is not None]) + values, ends


def _read_range(data: bytes, at: int, length: int) -> tuple[Range, int]:
    dtype = np.dtype("<f2" if data[at] else "<f4")
    end = at + 1 + 2 * length * dtype.itemsize
    if end > len(data):
        raise ValueError("it ends within a range")
    flat = torch.from_numpy(np.frombuffer(data[at + 1 : end], dtype).astype(np.float32))
    low, high = flat[:length], flat[length:]
    if not (torch.isfinite(flat).all() and (low <= high).all()):
        raise ValueError("a range is not one")
    return (low, high), end


def _option(option: str, arguments: str) -> tuple[str, Any]:
    """What one word behind a ``/`` says, and of what."""
    if option in RANGES:
        return "range", option
    if rank := re.fullmatch(r"rank=([1-9]\d{0,4})", option):
        return "rank", int(rank[1])
    levels: dict[str, int] = {}
    for part in option.split(","):
        found = re.fullmatch(rf"({'|'.join(ANY)})(=([1-9]\d{{0,4}}))?", part)
        if not found or found[1] in levels:
            raise InputError(f"coded frames {arguments!r}: {option!r} is no levels; {_USE}")
        levels[found[1]] = int(found[3] or 0)
    return "levels", levels
