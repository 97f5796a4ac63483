"""What all figures share: colours, what stands on top, and how they are written."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detectron2_patch.errors import InputError
from detectron2_patch.report.records import Group
from detectron2_patch.utils.files import atomic_write

# Okabe and Ito 2008: apart for colour-blind readers; marker and dash are for greyscale.
BLUE, ORANGE, GREEN, RED, PINK, SKY, BLACK = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#000000",
)
LEVEL_STYLE: dict[str, dict[str, Any]] = {
    "p2": {"color": BLUE, "marker": "o", "linestyle": "-"},
    "p3": {"color": RED, "marker": "s", "linestyle": (0, (5, 1.5))},
    "p4": {"color": GREEN, "marker": "^", "linestyle": (0, (4, 1.5, 1, 1.5))},
    "p5": {"color": ORANGE, "marker": "D", "linestyle": (0, (1, 1.2))},
    "p6": {"color": PINK, "marker": "v", "linestyle": (0, (8, 2))},
    "p7": {"color": SKY, "marker": "P", "linestyle": (0, (2, 2))},
    "p8": {"color": BLACK, "marker": "X", "linestyle": (0, (6, 1, 1, 1))},
    "p1": {"color": BLACK, "marker": "*", "linestyle": ":"},
}
METRIC_NAMES = {
    "AP": "AP, all objects",
    "APs": "APs, small objects",
    "APm": "APm, medium objects",
    "APl": "APl, large objects",
}
SCOPE_NAMES = {
    "rpn": "scope rpn: the proposal network reads the received maps, the box head clean ones",
    "pyramid": "scope pyramid: both heads read the received maps",
}
_RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "legend.frameon": False,
    "text.parse_math": False,
    "svg.hashsalt": "detectron2_patch",
    "savefig.dpi": 150,
    "hatch.linewidth": 0.6,
}


_METADATA: dict[str, dict[str, None]] = {"png": {"Software": None}, "svg": {"Date": None}}


@dataclass
class Figure:
    """A drawn figure: its file name's stem, a caption, and what the data lacks for it."""

    name: str
    caption: str
    canvas: Any  # matplotlib.figure.Figure
    missing: list[str] = field(default_factory=list)


@contextmanager
def style() -> Iterator[None]:
    """matplotlib as these figures want it, whatever the user's own settings are.

    Raises:
        InputError: matplotlib isn't installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise InputError(
            "figures need matplotlib, which isn't installed; pip install matplotlib"
        ) from error
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def new_figure(group: Group, scope: str, title: str, size: tuple[float, float]):
    """An empty figure, ``size`` in inches, under its title and what it was measured on."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=size, layout="constrained")
    layout: Any = canvas.get_layout_engine()
    layout.set(rect=(0, 0, 1, 1 - 0.72 / size[1]), w_pad=0.08, h_pad=0.06)
    top = 1 - 0.24 / size[1]
    canvas.text(0.012, top, title, fontsize=12.5, fontweight="bold", va="center")
    for line, text in enumerate((describe(group), SCOPE_NAMES[scope])):
        canvas.text(
            0.012,
            top - (0.23 + 0.17 * line) / size[1],
            text,
            fontsize=8,
            color="#444444",
            va="center",
        )
    return canvas


def describe(group: Group) -> str:
    """Dataset, images, model, engine and baseline in one line."""
    images = "" if group.images is None else f" ({group.images:,} images)"
    clean = (
        "no clean result"
        if group.clean is None
        else ", ".join(f"{key} {show(group.clean.metrics.get(key))}" for key in METRIC_NAMES)
    )
    return (
        f"{shorten(group.dataset)}{images} · {shorten(group.model)} {group.weights} · "
        f"engine {shorten(group.engine)} · clean: {clean}"
    )


def show(value: float | None) -> str:
    """A number with one decimal; a dash where there is none."""
    return "–" if value is None else f"{value:.1f}"


def losses_down(panels: Iterable, drops: Sequence[float]) -> None:
    """Points lost point downwards, as AP falls, and all figures of these ``drops`` are alike."""
    low, high = min([0.0, *drops]), max([0.0, *drops])
    room = 0.09 * (high - low) or 1.0  # for the numbers at the ends of bars
    for panel in panels:
        panel.set_ylim(high + room, low - (room if low < 0 else 0.03 * (high - low)))


def plain_number(value: float) -> str:
    """As people write it: ``0.5``, ``30``, ``10,000``; three digits where it has more."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def shorten(text: str, most: int = 40) -> str:
    """``text``, cut in the middle where it is long; no line breaks or control characters."""
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= most else f"{text[: most - 12]}…{text[-11:]}"


def show_ratio(ratio: float) -> str:
    """``4``, ``1.5`` or ``max``."""
    return "max" if math.isinf(ratio) else f"{ratio:g}"


def write_to(figure: Figure, path: str) -> None:
    """Write the one file ``path``, a ``.png`` or ``.svg``, equal bytes for equal data.

    Raises:
        InputError: it can't be written.
    """
    suffix = path.rpartition(".")[2]
    with atomic_write(path) as file:
        figure.canvas.savefig(file, format=suffix, metadata=_METADATA[suffix])


def write(figure: Figure, folder: Path) -> list[Path]:
    """Write PNG and SVG, equal bytes for equal data; returns both paths."""
    paths = []
    for suffix in _METADATA:
        path = folder / f"{figure.name}.{suffix}"
        write_to(figure, str(path))
        figure.canvas.set_layout_engine("none")  # what the first has laid out serves the second
        paths.append(path)
    return paths
