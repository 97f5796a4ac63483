"""Whether a figure's texts keep clear of one another, and stay within the figure."""

import matplotlib.text
from matplotlib.backends.backend_agg import FigureCanvasAgg

SLACK = 1.0  # pixels: boxes of letters have room around them


def boxes_of(canvas):
    """Text and its box in pixels, of all that is drawn; of a number in a circle, the circle's."""
    renderer = FigureCanvasAgg(canvas).get_renderer()
    canvas.draw(renderer)
    drawn = [one for one in canvas.findobj(matplotlib.text.Text) if one.get_visible()]
    unused = {
        label
        for panel in canvas.axes
        for axis in (panel.xaxis, panel.yaxis)
        for used in [set(axis._update_ticks())]
        for tick in {*axis.majorTicks, *axis.minorTicks} - used
        for label in (tick.label1, tick.label2)
    }
    return [
        (one.get_text(), _box(one, renderer))
        for one in drawn
        if one.get_text().strip() and one not in unused
    ]


def _box(one, renderer):
    patch = one.get_bbox_patch()
    if patch is not None:
        return patch.get_window_extent(renderer)
    return matplotlib.text.Text.get_window_extent(one, renderer)


def overlaps(canvas):
    """Pairs of texts that cover each other."""
    found = boxes_of(canvas)
    return [
        (text, other)
        for i, (text, box) in enumerate(found)
        for other, its in found[:i]
        if min(box.x1, its.x1) - max(box.x0, its.x0) > SLACK
        and min(box.y1, its.y1) - max(box.y0, its.y0) > SLACK
    ]


def outside(canvas):
    """Texts that the figure's edge cuts."""
    whole = canvas.bbox
    return [
        text
        for text, box in boxes_of(canvas)
        if box.x0 < whole.x0 - SLACK
        or box.x1 > whole.x1 + SLACK
        or box.y0 < whole.y0 - SLACK
        or box.y1 > whole.y1 + SLACK
    ]
