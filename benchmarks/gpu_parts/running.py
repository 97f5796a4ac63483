"""Runs parts in another process, each for so long: whatever becomes of one, the rest goes on."""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_DONE = b"done\n"


def serve(run: Callable[[str, Path], None]) -> None:
    """The worker's side: ``run(part, file for its figures)`` for each line that is read.

    A part that fails ends the process, so that nothing of it is left for the next one.
    """
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever else prints goes to the log
    for line in iter(sys.stdin.readline, ""):
        name, _, figures = line.rstrip("\n").partition("\t")
        run(name, Path(figures))
        gc.collect()  # a detector in a cycle would stay on the card
        os.write(answers, _DONE)


class Worker:
    """A process that runs parts one after the other, since importing torch takes its time, and
    another one after a part that failed or took too long.

    Args:
        command: starts it; it calls ``serve``.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.command = command
        self.process: subprocess.Popen | None = None
        self.folder = tempfile.TemporaryDirectory()
        self.log = Path(self.folder.name) / "log"

    def run(self, name: str, limit: float) -> dict[str, Any]:
        """The outcome of a part.

        Returns:
            ``status`` (``done``, ``failed`` or ``cut off``), ``seconds``, ``limit``, ``rows`` and
            ``checks``, those of a part that failed as far as it came, its ``error``, and the end
            of what it printed, ``log``.
        """
        figures = Path(self.folder.name) / f"{name}.json"
        start = time.monotonic()
        answer = self._ask(f"{name}\t{figures}\n".encode(), limit)
        found = json.loads(figures.read_bytes()) if figures.exists() else {}
        outcome = {
            "status": {_DONE: "done", None: "cut off"}.get(answer, "failed"),
            "seconds": round(time.monotonic() - start, 1),
            "limit": limit,
            "rows": found.get("rows", []),
            "checks": found.get("checks", []),
        }
        if outcome["status"] == "failed":
            lines = [line for line in _text(self.log).splitlines() if line.strip()]
            outcome["error"] = lines[-1] if lines else f"exit status {self.process.wait()}"
            outcome["log"] = lines[-12:]
        if answer != _DONE:
            self._stop()
        return outcome

    def close(self) -> None:
        """Stop the process and forget what it wrote."""
        self._stop()
        self.folder.cleanup()

    def _ask(self, line: bytes, limit: float) -> bytes | None:
        """What the process answers: nothing where it ended, ``None`` where time was over."""
        if self.process is None:
            self._start()
        try:
            self.process.stdin.write(line)
        except BrokenPipeError:
            return b""
        ready, _, _ = select.select([self.process.stdout], [], [], limit)
        return self.process.stdout.readline() if ready else None

    def _start(self) -> None:
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                start_new_session=True,
            )

    def _stop(self) -> None:
        """End the process, where there is one, and whatever it has started."""
        process, self.process = self.process, None
        if process is None:
            return
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        process.stdin.close()
        process.stdout.close()


def commit(folder: Path) -> str | None:
    """The commit that ``folder`` is at, ``-dirty`` where files have been changed since; ``None``
    where git doesn't know."""
    line = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _text(log: Path) -> str:
    """What a part printed, without the folders of this machine."""
    text = log.read_text(errors="replace")
    for folder, name in ((str(ROOT), "."), (str(Path.home()), "~")):
        text = text.replace(folder, name)
    return text
