"""The report's page: every section in its order, in one document that loads nothing."""

import gzip
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

from analysis.charts import palette
from analysis.charts.axes import front_changes, known_axes
from analysis.charts.compaction import compact
from analysis.charts.curves import curves_figure, curves_info
from analysis.charts.front_chart import front_figure, front_info
from analysis.charts.parallel import parallel_info
from analysis.charts.progress import progress_figure, progress_info
from analysis.charts.recipe import recipes_figure, recipes_info
from analysis.charts.sizes import QUANTITIES, sizes_figure, sizes_info
from analysis.charts.slices import slices_info
from analysis.findings import find, time_spent
from analysis.importance import importances
from analysis.markup import Html, compact_json, join, script_json, tag, text
from analysis.record import StudyResults
from analysis.sections.comparisons import front_section, gains_section
from analysis.sections.evidence import (
    curves_section,
    failures_section,
    provenance_section,
    time_section,
    trials_section,
)
from analysis.sections.exits import exits_section
from analysis.sections.further import further_section
from analysis.sections.gallery import gallery_section
from analysis.sections.overview import asked, found, front_chart, header
from analysis.sections.published import published_section
from analysis.sections.search import (
    importance_section,
    parallel_section,
    progress_section,
    recipes_section,
    slices_section,
)
from analysis.sections.sizes import sizes_section

if TYPE_CHECKING:
    import plotly.graph_objects as go

_CONTENTS = {
    "front": "Front",
    "exits": "Exits",
    "gains": "Gain by distillation",
    "published": "Published beside measured",
    "sizes": "Parameters and FLOPs",
    "further": "Further figures",
    "illustrations": "Illustrations",
    "curves": "Learning curves",
    "progress": "Hypervolume",
    "importance": "What mattered",
    "slices": "Slices",
    "recipes": "Temperature and α",
    "parallel": "Parallel coordinates",
    "trials": "All trials",
    "endings": "Endings",
    "time": "Time",
    "provenance": "Provenance",
}


def render(results: StudyResults, pictures: Mapping[str, bytes] | None = None) -> str:
    """The report as one HTML document that loads nothing.

    Args:
        results: what the record tells.
        pictures: PNG files of the study's illustrations by name, which become part of the page;
            those that are missing are said to be.
    """
    findings = find(results)
    front = front_info(results)
    axes = known_axes(front)
    curves = curves_info(results)
    sizes = sizes_info(results)
    progress, recipes = progress_info(results), recipes_info(results)
    mattered = importances(results)
    order = () if mattered is None else mattered.parameters
    sections = {
        "front": front_section(results, findings),
        "exits": exits_section(results, findings),
        "gains": gains_section(results, findings),
        "published": published_section(results),
        "sizes": sizes_section(sizes),
        "further": further_section(results),
        "illustrations": gallery_section(results.illustrations, pictures or {}),
        "curves": curves_section(curves),
        "progress": progress_section(results, progress),
        "importance": importance_section(results, mattered),
        "slices": slices_section(results, slices_info(results, order)),
        "recipes": recipes_section(results, recipes),
        "parallel": parallel_section(results, parallel_info(results)),
        "trials": trials_section(results, findings),
        "endings": failures_section(results),
        "time": time_section(results, time_spent(results)),
        "provenance": provenance_section(results),
    }
    figures = draw_figures(results)
    body = [
        header(results),
        asked(results),
        tag(
            "div",
            found(results, findings),
            front_chart(front, findings, list(axes)),
            class_="first-screen",
        ),
        _contents([name for name, section in sections.items() if section is not None]),
        *sections.values(),
    ]
    return document(
        f"{results.name} · distillation study",
        join(body, "\n"),
        figures,
        front_changes(front, axes),
    )


def draw_figures(results: StudyResults) -> "dict[str, go.Figure]":
    """The charts that Plotly draws, by name; those there is nothing for are left out."""
    figures = {}
    if (front := front_info(results)).marks:
        figures["front"] = front_figure(front)
    if (curves := curves_info(results)).curves:
        figures["curves"] = curves_figure(curves)
    if (sizes := sizes_info(results)) is not None:
        figures |= {name: sizes_figure(sizes, name) for name in QUANTITIES}
    if (progress := progress_info(results)) is not None:
        figures["progress"] = progress_figure(progress)
    if (recipes := recipes_info(results)) is not None:
        figures["recipes"] = recipes_figure(recipes)
    return figures


def document(
    title: str, body: Html, figures: "Mapping[str, go.Figure]", more: Mapping[str, Any]
) -> str:
    """A whole page around a body.

    Args:
        title: as plain text.
        body: the sections.
        figures: charts by name; NAME is drawn into the element `chart-NAME`.
        more: further JSON that the page's script reads, by the id of its element.
    """
    data = [script_json("dark-twins", compact_json(palette.dark_twins()))]
    data += [
        script_json(f"figure-{name}", compact_json(compact(figure.to_plotly_json())))
        for name, figure in figures.items()
    ]
    data += [script_json(name, compact_json(compact(content))) for name, content in more.items()]
    return Template(_asset("report.html")).substitute(
        title=text(title),
        palette=palette.css(),
        css=_asset("report.css"),
        body=body,
        data=join(data, "\n"),
        plotly=_packed_plotly() if figures else "",
        js="".join(_asset(name) for name in ("charts.js", "tables.js")),
    )


@cache
def _packed_plotly() -> str:
    """Plotly's script, gzipped and in base64: 1.9 MB of a page instead of 4.8."""
    from plotly.offline import get_plotlyjs

    return b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()


def _asset(name: str) -> str:
    return files("analysis").joinpath("assets", name).read_text(encoding="utf-8")


def _contents(names: Sequence[str]) -> Html:
    links = [tag("a", _CONTENTS[name], href=f"#{name}") for name in names]
    return tag("nav", *links, aria_label="Contents")
