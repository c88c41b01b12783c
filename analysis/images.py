"""The charts as PNG files, drawn by kaleido in a browser of this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import plotly.graph_objects as go

_WIDTH, _HEIGHT, _SCALE = 900, 560, 2
_LEGEND_PIXELS = 30
_SIGNATURE = b"\x89PNG"


class Images(NamedTuple):
    """PNG files by name; where there are none, why not, in a sentence."""

    files: dict[str, bytes]
    why_none: str | None = None


def draw_images(figures: "dict[str, go.Figure]") -> Images:
    """Draws figures as PNG; where kaleido or a browser is missing, says so instead."""
    try:
        import kaleido  # noqa: F401
    except ImportError:
        return Images({}, "PNG needs kaleido: pip install '.[png]'.")
    if _browser() is None:
        return Images(
            {},
            "PNG needs a Chromium or Chrome on the PATH (Debian: apt-get install chromium).",
        )
    files = {}
    for name, figure in figures.items():
        try:
            files[f"{name}.png"] = _png(figure)
        except Exception as error:  # whatever a browser that does not start raises
            lines = str(error).strip().splitlines() or [""]
            return Images({}, f"PNG was not drawn: {type(error).__name__}: {lines[0]}")
    return Images(files)


def _browser() -> Path | None:
    from choreographer.browsers.chromium import Chromium

    found = Chromium.find_browser(skip_local=False)
    return None if found is None else Path(found)


def _png(figure: "go.Figure") -> bytes:
    named = [trace for trace in figure.data if trace.name and trace.showlegend is not False]
    legend = len(named) > 1
    figure.update_layout(paper_bgcolor="white", showlegend=legend)
    height = figure.layout.height or _HEIGHT
    if figure.layout.height and legend:  # it must take nothing of the height that the bars need
        height += _LEGEND_PIXELS
        figure.update_layout(height=height, margin_t=figure.layout.margin.t + _LEGEND_PIXELS)
    content = figure.to_image(format="png", width=_WIDTH, height=height, scale=_SCALE)
    if not content.startswith(_SIGNATURE):
        raise ValueError("the browser answered with something that is no PNG")
    return bytes(content)
