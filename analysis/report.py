"""The report of a study: one self-contained page, and its tables as files.

python -m analysis.report studies/NAME

reads the record in that folder with its pictures, and nothing else, and writes report/index.html,
results.csv, results.md and front.csv there. The same record gives the same bytes.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from analysis.charts import palette
from analysis.charts.compaction import compact
from analysis.charts.curves import curves_figure, curves_info
from analysis.charts.front_chart import front_figure, front_info
from analysis.charts.sizes import QUANTITIES, sizes_figure, sizes_info
from analysis.export import results_markdown, to_csv
from analysis.findings import find, time_spent
from analysis.illustration import read_pictures
from analysis.record import RecordReadError, StudyResults, read_record
from analysis.results import REPORT_FOLDER
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
from analysis.sections.markup import Html, compact_json, join, script_json, tag, text
from analysis.sections.overview import asked, found, front_chart, header
from analysis.sections.published import published_section
from analysis.sections.sizes import sizes_section
from analysis.table import front_table, results_table

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
    from plotly.offline import get_plotlyjs

    findings = find(results)
    front = front_info(results)
    curves = curves_info(results)
    sizes = sizes_info(results)
    sections = {
        "front": front_section(results, findings),
        "exits": exits_section(results, findings),
        "gains": gains_section(results, findings),
        "published": published_section(results),
        "sizes": sizes_section(sizes),
        "further": further_section(results),
        "illustrations": gallery_section(results.illustrations, pictures or {}),
        "curves": curves_section(curves),
        "trials": trials_section(results, findings),
        "endings": failures_section(results),
        "time": time_section(results, time_spent(results)),
        "provenance": provenance_section(results),
    }
    data = [script_json("dark-twins", compact_json(palette.dark_twins()))]
    if front.marks:
        data.append(_figure_json("front", front_figure(front)))
    if curves.curves:
        data.append(_figure_json("curves", curves_figure(curves)))
    if sizes is not None:
        data += [_figure_json(name, sizes_figure(sizes, name)) for name in QUANTITIES]
    body = [
        header(results),
        asked(results),
        found(results, findings),
        front_chart(front, findings),
        _contents([name for name, section in sections.items() if section is not None]),
        *sections.values(),
    ]
    return Template(_asset("report.html")).substitute(
        title=text(f"{results.name} · distillation study"),
        palette=palette.css(),
        css=_asset("report.css"),
        body=join(body, "\n"),
        data=join(data, "\n"),
        plotly=get_plotlyjs() if len(data) > 1 else "",
        js=_asset("report.js"),
    )


def _asset(name: str) -> str:
    return files("analysis").joinpath("assets", name).read_text(encoding="utf-8")


def _figure_json(name: str, figure: "go.Figure") -> Html:
    return script_json(f"figure-{name}", compact_json(compact(figure.to_plotly_json())))


def _contents(names: Sequence[str]) -> Html:
    links = [tag("a", _CONTENTS[name], href=f"#{name}") for name in names]
    return tag("nav", *links, aria_label="Contents")


def write_report(study_folder: Path) -> list[Path]:
    """Writes the report of the study in a folder into its `report` folder.

    Each file is written beside its place and renamed into it, so a reader never sees half of one.

    Args:
        study_folder: the folder that holds `plan.json`.

    Returns:
        The files written: index.html, results.csv, results.md, front.csv.

    Raises:
        RecordReadError: no study there, or a damaged one.
    """
    results = read_record(study_folder)
    folder = study_folder / REPORT_FOLDER
    folder.mkdir(exist_ok=True)
    contents = {
        "index.html": render(results, read_pictures(study_folder, results.illustrations)),
        "results.csv": to_csv(results_table(results)),
        "results.md": results_markdown(results),
        "front.csv": to_csv(front_table(results)),
    }
    paths = []
    for name, content in contents.items():
        for leftover in folder.glob(f".{name}.*"):  # of a process that was killed
            leftover.unlink(missing_ok=True)
        path = folder / name
        unfinished = folder / f".{name}.{os.getpid()}"
        unfinished.write_text(content, encoding="utf-8", newline="\n")
        unfinished.replace(path)
        paths.append(path)
    return paths


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, or 2 where the folder cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.report",
        description="Write the report of a study from its record.",
        epilog="example: python -m analysis.report studies/quickstart",
    )
    parser.add_argument(
        "study_folder", metavar="STUDY_FOLDER", type=Path, help="folder that holds plan.json"
    )
    folder = parser.parse_args(arguments).study_folder
    try:
        paths = write_report(folder)
    except (RecordReadError, OSError) as error:
        print(f"analysis.report: {error}", file=sys.stderr)
        return 2
    print("\n".join(map(str, paths)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
