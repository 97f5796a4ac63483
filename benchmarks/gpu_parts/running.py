"""Runs a part in a process of its own, for so long: whatever becomes of it, the rest goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def run_part(command: Sequence[str], limit: float) -> dict[str, Any]:
    """The outcome of ``command``, which writes rows and checks to the file named last.

    Returns:
        ``status`` (``done``, ``failed`` or ``cut off``), ``seconds``, ``limit``, ``rows`` and
        ``checks``, those of a part that failed as far as it came, and its ``error``.
    """
    with tempfile.TemporaryDirectory() as folder:
        figures, log = Path(folder) / "figures.json", Path(folder) / "log"
        start = time.monotonic()
        with open(log, "wb") as output:
            status = _wait([*command, str(figures)], output, limit)
        found = json.loads(figures.read_bytes()) if figures.exists() else {}
        outcome = {
            "status": {0: "done", None: "cut off"}.get(status, "failed"),
            "seconds": round(time.monotonic() - start, 1),
            "limit": limit,
            "rows": found.get("rows", []),
            "checks": found.get("checks", []),
        }
        if status:
            lines = [line for line in _text(log).splitlines() if line.strip()]
            outcome["error"] = lines[-1] if lines else f"exit status {status}"
            outcome["log"] = lines[-12:]
        return outcome


def _wait(command: Sequence[str], output, limit: float) -> int | None:
    """The exit status of ``command``; ``None`` where it was stopped at ``limit`` seconds."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        try:  # and whatever it has started
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


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
