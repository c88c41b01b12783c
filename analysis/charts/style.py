"""What every chart has in common: transparent paper, quiet axes, tick values a reader can use.

Figures use light colours only (see `analysis.charts.palette`); the report swaps them on dark paper.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from analysis.charts.palette import light

if TYPE_CHECKING:
    import plotly.graph_objects as go

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
_DECADE_STEPS = (
    (1,),
    (1, 3),
    (1, 2, 5),
    (1, 1.5, 2, 3, 4, 5, 7),
    (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9),
)
_FEWEST_TICKS = 5


def plot_text(text: str) -> str:
    """Text for a chart. Plotly knows a few tags there, and decodes no entities of quotes."""
    return escape(text, quote=False)


def rounded(number: float) -> float:
    """Six significant digits: finer than a screen, and short in the page."""
    return float(f"{number:.6g}")


def chart_layout(x_title: str, y_title: str) -> dict[str, Any]:
    """Layout of a chart; titles are Plotly text, escaped by the caller."""
    axis = {
        "gridcolor": light("grid"),
        "linecolor": light("line"),
        "tickcolor": light("line"),
        "tickfont": {"color": light("muted"), "size": 12},
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "zeroline": False,
        "automargin": True,
    }
    title = {"font": {"color": light("muted"), "size": 13}, "standoff": 10}
    return {
        "template": "none",
        "font": {"family": FONT, "size": 13, "color": light("ink")},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 56, "r": 16, "t": 28, "b": 48},
        "modebar": {
            "bgcolor": "rgba(0,0,0,0)",
            "color": light("muted"),
            "activecolor": light("ink"),
        },
        "hovermode": "closest",
        "hoverlabel": {
            "align": "left",
            "bgcolor": light("paper"),
            "bordercolor": light("line"),
            "font": {"family": FONT, "size": 13, "color": light("ink")},
        },
        "legend": {"orientation": "h", "y": 1.08, "x": 0},
        "xaxis": {**axis, "title": {**title, "text": x_title}, "showgrid": False},
        "yaxis": {**axis, "title": {**title, "text": y_title}},
    }


def level_line(
    figure: "go.Figure",
    level: float,
    label: str,
    color: str,
    *,
    width: float = 1.2,
    below: bool = False,
) -> None:
    """Draws a thin dotted line across a chart at one value of its y axis, named at its left.

    The name stands on the line, or `below` it, clear of the names of what lies on it.
    """
    figure.add_shape(
        type="line",
        x0=0,
        x1=1,
        xref="paper",
        y0=rounded(level),
        y1=rounded(level),
        line={"color": light(color), "width": width, "dash": "dot"},
    )
    figure.add_annotation(
        text=plot_text(label),
        font={"color": light(color), "size": 12},
        x=0.01,
        xref="paper",
        xanchor="left",
        y=rounded(level),
        yanchor="top" if below else "bottom",
        showarrow=False,
    )


def log_axis(values: Sequence[float]) -> dict[str, Any]:
    """A log axis around positive values, ticked at plain numbers (never "2 5 10 2 5")."""
    positive = [value for value in values if value > 0]
    low, high = (min(positive), max(positive)) if positive else (1.0, 10.0)
    if high < 1.5 * low:
        middle = math.sqrt(low * high)
        low, high = middle / 1.25, middle * 1.25
    pad = (high / low) ** 0.07
    low, high = low / pad, high * pad
    ticks = log_ticks(low, high)
    return {
        "type": "log",
        "range": [round(math.log10(low), 4), round(math.log10(high), 4)],
        "tickvals": ticks,
        "ticktext": [f"{tick:g}" for tick in ticks],
    }


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two positive bounds: the coarsest series with at least five of them.

    `charts.js` does the same for the part of the axis a reader zooms to.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in _DECADE_STEPS:
        ticks = [float(f"{step * 10.0**decade:.6g}") for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= _FEWEST_TICKS:
            return ticks
    return _even_ticks(low, high)


def _even_ticks(low: float, high: float) -> list[float]:
    """Evenly spaced round numbers, for a stretch too short for a series by decades."""
    decade = 10.0 ** math.floor(math.log10(high - low))
    step = next(
        size for size in (decade, decade / 2, decade / 5, decade / 10)
        if (high - low) / size >= _FEWEST_TICKS
    )  # fmt: skip
    first, last = math.ceil(low / step), math.floor(high / step)
    return [float(f"{count * step:.6g}") for count in range(first, last + 1)]
