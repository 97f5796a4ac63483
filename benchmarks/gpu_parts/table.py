"""The record as text."""

from __future__ import annotations

from typing import Any


def format_record(content: dict[str, Any]) -> str:
    """One table: the machine, then each part's rows and checks."""
    machine = content["machine"]
    versions = machine["versions"]
    told = {key: machine.get(key) for key in ("card", "driver", "cuda", "cudnn") if key in machine}
    head = [
        machine.get("card", f"no GPU, device {machine['device']}"),
        *(f"{key} {value}" for key, value in told.items() if key != "card"),
        f"{machine['cores']} cores",
        *(f"{name} {versions[name]}" for name in ("torch", "torchvision", "python")),
    ]
    lines = [", ".join(head) + (", small" if content["small"] else "")]
    for part in content["parts"].values():
        lines += ["", *_part(part)]
    return "\n".join(lines)


def _part(part: dict[str, Any]) -> list[str]:
    status = "" if part["status"] == "done" else f": {part['status'].upper()}"
    lines = [f"{part['title']} ({part['seconds']:.1f} of {part['limit']:.0f} s){status}"]
    if "error" in part:
        lines.append(f"  {part['error']}")
    lines += [f"  {line}" for line in _columns(part["rows"])]
    lines += [
        f"  {'ok  ' if check['ok'] else 'FAIL'} {check['what']}: {_cell(check['found'])}"
        for check in part["checks"]
    ]
    return lines


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    """Rows below their headings; text to the left, numbers to the right."""
    if not rows:
        return []
    columns = []
    for key in rows[0]:
        cells = [_cell(row.get(key)) for row in rows]
        width = max(map(len, (key, *cells)))
        left = any(isinstance(row.get(key), str) for row in rows)
        columns.append([cell.ljust(width) if left else cell.rjust(width) for cell in (key, *cells)])
    return ["  ".join(line).rstrip() for line in zip(*columns)]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if 0.1 <= abs(value) else f"{value:.2g}"
