"""Part ``coding``: fitting, and encoding and decoding whole pyramids."""

from __future__ import annotations

from collections.abc import Iterator

from detectron2_patch.codec.fitted import Fitted
from detectron2_patch.codec.fitting import fit
from detectron2_patch.codec.transmission import Channel, receive_pyramid, send_pyramid
from gpu_parts.bench import Bench
from gpu_parts.configs import R50
from gpu_parts.data import the_photographs
from gpu_parts.detectors import random_detector
from gpu_parts.project import Setting
from gpu_parts.timing import forget_peak, peak_mib, timed

SEND = ("p3", "p5")


def run(bench: Bench) -> None:
    """Rows of what was fitted, then of each coding of the first photographs' pyramids."""
    dataset, device = the_photographs(bench.sizes), bench.device
    paths = [dataset.image_path(image) for image in dataset.images]
    engine = random_detector(R50, bench.sizes.opts, device, paths[0])
    fitted = _fitted(bench, engine, paths)
    for path in paths[: bench.sizes.coded]:
        batch = engine.batch([engine.read(path)])
        pyramid = engine.pyramid(batch)
        for words in codings(bench.sizes.rank):
            _code(bench, words, pyramid, tuple(batch.tensor.shape[-2:]), fitted)


def codings(rank: int) -> list[str]:
    """What is sent, in the words of a setting."""
    return [
        "--bits 4",
        "--bits 2 --range channel",
        f"--rank {rank} --bits 5",
        f"--send {' '.join(SEND)} --restore fit --bits 4",
    ]


def _fitted(bench: Bench, engine, paths) -> Fitted:
    """Directions of every level, and restorers of what P3 and P5 leave out, of 3x3 elements."""

    def pyramids() -> Iterator[dict]:
        for path in paths:
            yield engine.pyramid(engine.batch([engine.read(path)]))

    next(pyramids())  # warms up
    forget_peak(bench.device)
    seconds, arrays = timed(lambda: fit(pyramids(), 3, [SEND]), bench.device)
    channels = len(arrays["mean_p2"])
    what = f"fitting 3x3, {' '.join(SEND)}, {len(paths)} images"
    _row(bench, what, channels, seconds=seconds, peak_MiB=peak_mib(bench.device))
    return Fitted({}, arrays)


def _row(bench: Bench, what: str, channels: int, **figures) -> None:
    columns = ("seconds", "encode_seconds", "decode_seconds", "bytes", "times_fp32", "peak_MiB")
    bench.row(what=what, channels=channels, **{name: figures.get(name) for name in columns})


def _code(bench: Bench, words: str, pyramid: dict, size: tuple[int, int], fitted: Fitted) -> None:
    """One coding of one image's pyramid ``(1, C, h, w)``: what it takes, and that what is decoded
    is what a sweep has without decoding."""
    treatments = Setting.parse(words, fitted).by_level()
    maps = {level: x[0] for level, x in pyramid.items()}
    forget_peak(bench.device)
    encoding, data = timed(lambda: send_pyramid(maps, treatments, size, fitted), bench.device)
    decoding, received = timed(
        lambda: receive_pyramid(data, treatments, fitted, bench.device), bench.device
    )
    _row(
        bench,
        words,
        len(maps["p2"]),
        encode_seconds=encoding,
        decode_seconds=decoding,
        bytes=len(data),
        times_fp32=4 * sum(x.numel() for x in maps.values()) / len(data),
        peak_MiB=peak_mib(bench.device),
    )
    channel = Channel(pyramid, fitted, counted=())
    gap = max(
        (channel.map(level, treatments[level])[0] - received[level]).abs().max().item()
        for level in received
    )
    bench.check(f"decoded as one pass has it, {words}", gap, gap == 0)
