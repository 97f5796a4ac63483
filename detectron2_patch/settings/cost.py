"""The one cost of a setting: bytes over all images, what is sent once among them.

Everything that says how little is sent, in results, tables, searches and reports, asks here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from detectron2_patch.settings.levels import LEVELS, wire_levels

BYTES, ELEMENTS = COSTS = ("bytes", "elements")
WIRE = LEVELS[:4]  # P6 is made from P5: the full pyramid on a wire is P2 to P5
FP32 = 4  # bytes an element


def references(levels: Sequence[str] = LEVELS) -> dict[str, tuple[Sequence[str], int]]:
    """What a payload is compared with: levels and bytes an element of the maps in full."""
    return {
        f"{some[0]}-{some[-1]} {name}": (some, size)
        for name, size in (("fp32", FP32), ("fp16", 2))
        for some in (tuple(levels), wire_levels(levels))
    }


REFERENCES = references()

_CODED = {"bits", "level_codec", "pyramid", "image"}  # keys of a setting whose elements aren't fp32


def with_cost(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A payload of scope ``pyramid`` with what follows from its ``bytes``, ``header_bytes``,
    ``side_bytes``, ``full`` and ``image``: ``total_bytes``, ``bits_per_pixel`` and ``smaller``."""
    total = (
        payload["header_bytes"]
        + sum(payload["bytes"].values())
        + sum((payload.get("side_bytes") or {}).values())
    )
    full = payload["full"]
    return {
        **payload,
        "total_bytes": total,
        "bits_per_pixel": 8 * total / payload["image"]["pixels"],
        "smaller": {
            name: size * sum(full[level] for level in levels) / total
            for name, (levels, size) in references(tuple(full)).items()
        },
    }


def total_bytes(result: Mapping[str, Any]) -> int | None:
    """Bytes on the wire over all images, what is sent once among them.

    None where nothing is saved (scope ``rpn``) or nothing is known. Older results of uncoded maps
    tell elements alone: those were float32.
    """
    payload, setting = result["payload"] or {}, result["setting"]
    if setting["scope"] == "rpn":
        return None
    if "total_bytes" in payload:
        return payload["total_bytes"]
    sent = payload.get("sent")
    return FP32 * sum(sent.values()) if sent and not _CODED & setting.keys() else None


def bits_per_pixel(result: Mapping[str, Any]) -> float | None:
    """Of the images as they are stored; None where it isn't known."""
    if result["setting"]["scope"] == "rpn":
        return None
    payload, cost = result["payload"] or {}, total_bytes(result)
    if "bits_per_pixel" in payload or cost is None or not payload.get("image"):
        return payload.get("bits_per_pixel")
    return 8 * cost / payload["image"]["pixels"]


def times_smaller(result: Mapping[str, Any], by: str = BYTES) -> float | None:
    """How many times less is sent than P2 to P5 in fp32 (or, by elements, as they are)."""
    cost, full = cost_of(result, by), (result["payload"] or {}).get("full")
    if not cost or not full:
        return None
    return (
        sum(full[level] for level in wire_levels(tuple(full))) * (FP32 if by == BYTES else 1) / cost
    )


def cost_of(result: Mapping[str, Any], by: str) -> int | None:
    """Bytes, or elements; None where they aren't known or, of codecs of several levels or of the
    image, where elements say nothing."""
    if by == BYTES:
        return total_bytes(result)
    sent = (result["payload"] or {}).get("sent")
    return (sum(sent.values()) or None) if sent else None


def level_cost(payload: Mapping[str, Any], level: str, by: str) -> int:
    """What one level of a payload costs, where each is coded by itself."""
    if by == BYTES and "bytes" in payload:
        return payload["bytes"][level]
    return payload["sent"][level] * (FP32 if by == BYTES else 1)
