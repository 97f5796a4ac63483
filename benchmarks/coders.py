#!/usr/bin/env python3
"""The coder of a map's indices beside what other libraries make of the same indices.

For the demo's detector on validation scenes: bytes, the ratio to zstd at level 19, and processor
milliseconds to encode and decode. The image formats get the channels below each other ("tall") or
in a square ("mosaic"). Libraries that are not installed are left out: `pip install zstandard
brotli imagecodecs pyppmd` brings all. `--levels p2 --settings 4:level:klt` narrows it down.
"""

from __future__ import annotations

import argparse
import bz2
import io
import lzma
import time
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from coding import demo_engine, fit_bases, pyramids
from PIL import Image

from detectron2_patch.codec.bitstream import sent_range
from detectron2_patch.codec.entropy import compress, compress_by_waves, decompress
from detectron2_patch.codec.quantise import quantise

Coder = tuple[Callable, Callable | None]  # (indices, bits) -> bytes, and back where it was timed
SETTINGS = [
    "2:level",
    "3:level",
    "4:level",
    "2:channel",
    "3:channel",
    "4:channel",
    "3:level:klt",
    "4:level:klt",
    "5:level:klt",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4, help="validation scenes (4)")
    parser.add_argument("--levels", nargs="+", default=["p2", "p4", "p6"])
    parser.add_argument("--settings", nargs="+", default=SETTINGS, metavar="BITS:RANGE[:klt]")
    args = parser.parse_args()
    engine = demo_engine()
    levels = tuple(args.levels)
    maps = pyramids(engine, "demo_val", args.images, levels)[1]
    bases = fit_bases(pyramids(engine, "demo_train", 20, levels)[1])
    coders = dict(all_coders())
    for setting in args.settings:
        bits, kind, *klt = setting.split(":")
        for level in levels:
            sent = [bases[level].project(one[level]) if klt else one[level] for one in maps]
            print(f"{level}, {bits} bits, a range a {kind}{', klt' if klt else ''}")
            print_coders(coders, [indices(x, int(bits), kind) for x in sent], int(bits))


def indices(x: torch.Tensor, bits: int, kind: str) -> np.ndarray:
    return quantise(x, sent_range(x, kind == "channel", bits)[0], bits).numpy()


def print_coders(coders: dict[str, Coder], maps: list[np.ndarray], bits: int) -> None:
    """A line for each coder."""
    reference = None
    for name, (forth, back) in coders.items():
        start = time.process_time()
        streams = [forth(one, bits) for one in maps]
        middle = time.process_time()
        if back:
            for one, stream in zip(maps, streams):
                back(stream, one.shape, bits)
        ms = [
            1000 * seconds / len(maps) for seconds in (middle - start, time.process_time() - middle)
        ]
        size = np.mean([len(stream) for stream in streams])
        reference = reference or size
        per_element = 8 * size / maps[0].size
        print(
            f"  {name:18} {size:9.0f} bytes {size / reference:6.3f} {per_element:7.3f} bits/el "
            f"{ms[0]:7.1f} ms {f'{ms[1]:7.1f} ms' if back else ''}",
            flush=True,
        )


def all_coders() -> Iterator[tuple[str, Coder]]:
    """Those whose library is there, the reference first where it is."""
    try:
        import zstandard

        yield (
            "zstd 19",
            (
                lambda x, bits: zstandard.ZstdCompressor(level=19).compress(x.tobytes()),
                lambda data, shape, bits: zstandard.ZstdDecompressor().decompress(data),
            ),
        )
        yield (
            "zstd 19, packed",
            (lambda x, bits: zstandard.ZstdCompressor(level=19).compress(packed(x, bits)), None),
        )
        yield (
            "zstd 19, ch. last",
            (
                lambda x, bits: zstandard.ZstdCompressor(level=19).compress(
                    x.transpose(1, 2, 0).tobytes()
                ),
                None,
            ),
        )
    except ImportError:
        print("no zstandard: the ratio is to this project's coder")
    yield "this project's", (compress, decompress)
    yield "the same by waves", (compress_by_waves, None)
    yield "zlib 9", (lambda x, bits: zlib.compress(x.tobytes(), 9), None)
    yield (
        "lzma",
        (
            lambda x, bits: lzma.compress(
                x.tobytes(),
                lzma.FORMAT_RAW,
                filters=[{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 0, "lp": 0, "pb": 0}],
            ),
            None,
        ),
    )
    yield "bz2", (lambda x, bits: bz2.compress(x.tobytes()), None)
    yield "PNG", (lambda x, bits: pillow(tall(x), "PNG", compress_level=9), None)
    yield "WebP", (lambda x, bits: pillow(np.stack([tall(x)] * 3, -1), "WEBP", lossless=True), None)
    yield from optional_coders()


def optional_coders() -> Iterator[tuple[str, Coder]]:
    try:
        import brotli

        yield "brotli 9", (lambda x, bits: brotli.compress(x.tobytes(), quality=9), None)
    except ImportError:
        pass
    try:
        import pyppmd

        yield (
            "PPMd order 8",
            (lambda x, bits: pyppmd.compress(x.tobytes(), max_order=8, mem_size=64 << 20), None),
        )
    except ImportError:
        pass
    try:
        import imagecodecs
    except ImportError:
        return
    yield "JPEG-LS", (lambda x, bits: imagecodecs.jpegls_encode(tall(x)), None)
    yield "HTJ2K", (lambda x, bits: imagecodecs.htj2k_encode(tall(x)), None)
    for effort in (3, 7):
        for arranged in (tall, mosaic):
            yield (
                f"JPEG XL e{effort} {arranged.__name__}",
                (
                    lambda x, bits, effort=effort, arranged=arranged: imagecodecs.jpegxl_encode(
                        arranged(x), lossless=True, effort=effort
                    ),
                    lambda data, shape, bits: imagecodecs.jpegxl_decode(data),
                ),
            )


def tall(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, x.shape[2])


def mosaic(x: np.ndarray) -> np.ndarray:
    side = int(len(x) ** 0.5)
    return np.ascontiguousarray(
        x.reshape(side, side, *x.shape[1:]).transpose(0, 2, 1, 3).reshape(side * x.shape[1], -1)
    )


def packed(x: np.ndarray, bits: int) -> bytes:
    """As many indices in a byte as whole ones fit."""
    count = 8 // bits
    flat = np.append(x.ravel(), np.zeros(-x.size % count, np.uint8)).reshape(-1, count)
    return (flat << (bits * np.arange(count, dtype=np.uint8))).sum(1).astype(np.uint8).tobytes()


def pillow(pixels: np.ndarray, kind: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


if __name__ == "__main__":
    main()
