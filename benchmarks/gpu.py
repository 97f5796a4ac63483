#!/usr/bin/env python3
"""Everything that a GPU has to prove, in one command that needs no network: docs/gpu.md.

Prints one table and writes one JSON, whole after each part. The same command goes on where it was
cut off. Status 0: every part is done and every check holds; 1: not yet, or one doesn't; 2: there
is no such device, or another mistake, told in one line.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that it runs where the project isn't installed

from gpu_parts.bench import Bench  # noqa: E402
from gpu_parts.parts import PARTS  # noqa: E402
from gpu_parts.record import DONE, Record  # noqa: E402
from gpu_parts.running import Worker, commit, serve  # noqa: E402
from gpu_parts.sizes import FULL, SMALL  # noqa: E402
from gpu_parts.table import format_record  # noqa: E402

from detectron2_patch.errors import InputError  # noqa: E402

LEAST = 15.0  # seconds that have to be left for a part to begin


def build_parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add(
        "--device",
        default="cuda",
        choices=("cuda", "cpu"),
        help="cuda (default): the first that CUDA_VISIBLE_DEVICES leaves",
    )
    add("--small", action="store_true", help="narrow detectors and small images, as a test")
    add("--parts", nargs="+", choices=PARTS, metavar="PART", help=f"some of {', '.join(PARTS)}")
    add("--minutes", type=float, default=8.0, help="stop after that many, to go on later (8)")
    add("--out", type=Path, metavar="FILE", help="the JSON (results/gpu/CARD.json)")
    add("--again", action="store_true", help="forget what FILE has")
    add("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    args = build_parser().parse_args(argv)
    if args.worker:
        sizes = SMALL if args.small else FULL
        serve(lambda name, figures: PARTS[name].run(Bench(args.device, sizes, figures)))
        return 0
    try:
        return run(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run(args: argparse.Namespace) -> int:
    """Run what is left to do, print the table."""
    from gpu_parts.machine import describe, file_stem, no_device  # they import torch

    problem = no_device(args.device)
    if problem is not None:
        raise InputError(
            f"no GPU can be used here ({problem}); --device cpu --small tries the command on a CPU"
        )
    machine = describe(args.device)
    path = args.out or ROOT / "results" / "gpu" / f"{file_stem(machine, args.small)}.json"
    record = Record(path, machine, args.small, args.again)
    run_parts(args, record)
    print(format_record(record.content))
    print(f"\nwrote {path}")
    return 0 if record.sound() else 1


def run_parts(args: argparse.Namespace, record: Record) -> None:
    """Each part that isn't done, in turn, while there is time."""
    end = time.monotonic() + 60 * args.minutes
    pending = [name for name in record.pending() if name in (args.parts or PARTS)]
    worker = Worker(command(args))
    try:
        for number, name in enumerate(pending):
            left = end - time.monotonic()
            if left < LEAST:
                missing = ", ".join(pending[number:])
                _tell(f"time is over before {missing}; the same command goes on")
                return
            _tell(f"{name}: {PARTS[name].title}")
            outcome = worker.run(name, min(left, PARTS[name].limit))
            for line in outcome.pop("log", []):
                _tell(f"  {line}")
            record.add(name, {**outcome, "commit": commit(ROOT)})
            if outcome["status"] != DONE:
                _tell(f"{name} {outcome['status']} after {outcome['seconds']} s")
    finally:
        worker.close()


def command(args: argparse.Namespace) -> list[str]:
    """What starts a process that runs parts."""
    line = [sys.executable, str(Path(__file__).resolve()), "--worker", "--device", args.device]
    return [*line, *(["--small"] if args.small else [])]


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
