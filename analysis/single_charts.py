"""The charts of a report one by one: pages small enough to be looked at beside other files.

MLflow shows an HTML file where it lies, so the front can be seen there without going through the
whole report.
"""

from collections.abc import Mapping
from pathlib import Path

from analysis.charts.axes import front_changes, known_axes
from analysis.charts.curves import curves_info
from analysis.charts.front_chart import front_info
from analysis.charts.progress import progress_info
from analysis.findings import find
from analysis.markup import Html, join
from analysis.page import document, draw_figures
from analysis.record import StudyResults, read_record
from analysis.report import put
from analysis.results import REPORT_FOLDER
from analysis.sections.evidence import curves_section
from analysis.sections.overview import front_chart, header
from analysis.sections.search import progress_section

FIGURES_FOLDER = "figures"  # within that of the report


def render_charts(results: StudyResults) -> Mapping[str, str]:
    """Pages of the front, the learning curves and the hypervolume, by name.

    Each loads nothing from elsewhere. What there is nothing to draw for is left out.
    """
    front = front_info(results)
    axes = known_axes(front)
    sections: dict[str, Html | None] = {
        "front": front_chart(front, find(results), list(axes)),
        "curves": curves_section(curves_info(results)),
        "progress": progress_section(results, progress_info(results)),
    }
    figures = draw_figures(results)
    pages = {}
    for name, section in sections.items():
        if section is not None and name in figures:
            body = join([header(results), section], "\n")
            more = front_changes(front, axes) if name == "front" else {}
            title = f"{results.name} · {name}"
            pages[name] = document(title, body, {name: figures[name]}, more)
    return pages


def write_charts(study_folder: Path) -> Path | None:
    """Writes those pages into the folder `report/figures` of a study.

    Returns:
        That folder; None where nothing was drawn.

    Raises:
        RecordReadError: no study there, or a damaged one.
    """
    pages = render_charts(read_record(study_folder))
    if not pages:
        return None
    folder = study_folder / REPORT_FOLDER / FIGURES_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in pages.items():
        put(folder / f"{name}.html", page.encode())
    return folder
