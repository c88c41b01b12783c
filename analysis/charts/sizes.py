"""Bars of parameters and FLOPs, the teacher beside its students, each quantity on its own axis.

In two steps, as the other charts: `sizes_info` works out what is drawn, `sizes_figure` draws it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from analysis.charts.palette import light
from analysis.charts.style import chart_layout, plot_text, rounded
from analysis.formatting import NBSP, milliseconds, significant
from analysis.front import is_distilled
from analysis.record import StudyResults
from analysis.results import DEFAULT_CONTROL_LABEL, ModelSize, TrialResult

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_MEMBERS = 8
MOST_PRESETS = 12

BarGroup = Literal["teacher", "front", "dominated", "control"]
Quantity = Literal["params", "flops"]
Rows = Literal["published", "preset"]

QUANTITIES: tuple[Quantity, ...] = ("params", "flops")
TITLES: dict[Quantity, str] = {"params": "Parameters", "flops": "FLOPs"}
GROUP_TITLES: dict[BarGroup, str] = {
    "teacher": "Teacher",
    "front": "On the front",
    "dominated": "Not on the front",
    "control": "No distillation (hollow)",
}
_NAME_LETTERS = 52
# A name fits above its bar in a row of this height; the axis and its title need the rest.
_ROW_PIXELS = 42
_AROUND_PIXELS = 58


class Bar(NamedTuple):
    """One network: its name, and its parameters and FLOPs in millions."""

    name: str
    group: BarGroup
    params_m: float
    flops_m: float
    about: tuple[str, ...]

    def value(self, quantity: Quantity) -> float:
        """The parameters or the FLOPs (M)."""
        return self.params_m if quantity == "params" else self.flops_m


class SizesInfo(NamedTuple):
    """Everything the two panels show.

    Args:
        teacher: its bar, which comes first; None where there is no teacher (yet).
        students: fastest first.
        rows: the students are rows of a published table, or else of the preset; None where they
            are the front's.
        left_out: front members for which there was no room.
        failed: rows that failed, and have no bar.
    """

    teacher: Bar | None
    students: tuple[Bar, ...]
    rows: Rows | None
    left_out: int = 0
    failed: int = 0

    @property
    def bars(self) -> tuple[Bar, ...]:
        """All bars, from the top."""
        return (*(() if self.teacher is None else (self.teacher,)), *self.students)

    @property
    def height(self) -> int:
        """The height of either panel in pixels, which the names are placed for."""
        return _ROW_PIXELS * len(self.bars) + _AROUND_PIXELS

    @property
    def groups(self) -> tuple[BarGroup, ...]:
        """The groups that any bar is of, in the order of the legend."""
        found = {bar.group for bar in self.bars}
        return tuple(group for group in GROUP_TITLES if group in found)


def sizes_info(results: StudyResults) -> SizesInfo | None:
    """Works out the bars of a study; None while there is nothing to compare.

    The students are the rows of the preset that did not fail, else the distilled members of the
    front, or all of them where none is distilled; one for each architecture.
    """
    rows = [trial for trial in results.configurations if _is_row(results, trial)]
    ran = [trial for trial in rows if trial.status != "failed" and trial.model is not None]
    chosen, left_out = sorted(ran, key=_speed)[:MOST_PRESETS], 0
    if not ran:
        members = _distinct(results)
        chosen = _spread(members, MOST_MEMBERS)
        left_out = len(members) - len(chosen)
    students = tuple(
        _student(results, trial, trial.model) for trial in chosen if trial.model is not None
    )
    teacher = _teacher(results)
    if len(students) + (teacher is not None) < 2 or not students:
        return None
    if not ran:
        return SizesInfo(teacher, students, None, left_out)
    kind: Rows = "preset" if results.plan.space.published is None else "published"
    return SizesInfo(teacher, students, kind, failed=sum(t.status == "failed" for t in rows))


def _is_row(results: StudyResults, trial: TrialResult) -> bool:
    """Whether a trial is a row of the study's preset, which without one has none.

    The control of the default is none: every study tries it, whatever its preset.
    """
    if results.plan.plan.get("preset") is None or trial.label is None:
        return False
    published = results.plan.space.published
    if published is None:
        return trial.label != DEFAULT_CONTROL_LABEL
    return any(trial.label == row.label for row in published.rows)


def _speed(trial: TrialResult) -> tuple[bool, float, int]:
    latency = trial.latency_ms
    return latency is None, latency or 0.0, trial.number


def _distinct(results: StudyResults) -> list[TrialResult]:
    """The front's distilled members, or all of them where none is; one for each architecture."""
    front = [trial for trial in results.front if trial.model is not None]
    distilled = [trial for trial in front if is_distilled(trial, results.plan.space)]
    return list({trial.architecture: trial for trial in reversed(distilled or front)}.values())[
        ::-1
    ]


def _spread(members: Sequence[TrialResult], most: int) -> list[TrialResult]:
    """At most so many of them, evenly spread, the first and the last among them."""
    if len(members) <= most:
        return list(members)
    return [members[round(i * (len(members) - 1) / (most - 1))] for i in range(most)]


def _student(results: StudyResults, trial: TrialResult, model: ModelSize) -> Bar:
    name = f"{trial.name} {trial.label or trial.architecture}"
    members = {member.number for member in results.front}
    group: BarGroup = "front" if trial.number in members else "dominated"
    if not is_distilled(trial, results.plan.space):
        group = "control"
    about = (*((trial.architecture,) if trial.label else ()), milliseconds(trial.latency_ms))
    return Bar(name.rstrip(), group, model.params_m, model.flops_m, about)


def _teacher(results: StudyResults) -> Bar | None:
    teacher = results.teacher
    if teacher is None:
        return None
    latency = None if results.reference is None else results.reference.latency_ms
    about = (milliseconds(latency),)
    return Bar(f"teacher {teacher.name}", "teacher", teacher.params_m, teacher.flops_m, about)


# Drawing


def sizes_figure(info: SizesInfo, quantity: Quantity) -> "go.Figure":
    """Draws one quantity as horizontal bars, their names above them and their values at the end."""
    import plotly.graph_objects as go

    bars = info.bars
    most = max(bar.value(quantity) for bar in bars) or 1.0
    scale, unit = (1e3, "k") if most < 0.1 else (1e-3, "G") if most >= 1e4 else (1.0, "M")
    values = [bar.value(quantity) * scale for bar in bars]
    title = f"{TITLES[quantity]}, {unit}"
    figure = go.Figure(layout=_layout(title, max(values), len(bars), info.height))
    hollow = [bar.group == "control" for bar in bars]
    colors = [light(bar.group) for bar in bars]
    figure.add_trace(
        go.Bar(
            orientation="h",
            name=TITLES[quantity],
            showlegend=False,
            x=[rounded(value) for value in values],
            y=list(range(len(bars))),
            width=0.34,
            marker={
                "color": [
                    "rgba(0,0,0,0)" if empty else color
                    for empty, color in zip(hollow, colors, strict=True)
                ],
                "line": {"color": colors, "width": [1.8 if empty else 0 for empty in hollow]},
            },
            hovertext=[_hover(info, bar) for bar in bars],
            hoverinfo="text",
            meta={"key": "sizes"},
        )
    )
    for group in info.groups:
        figure.add_trace(_legend_entry(group))
    for place, (bar, value) in enumerate(zip(bars, values, strict=True)):
        color = light("teacher" if bar.group == "teacher" else "muted")
        name = {"text": plot_text(_shortened(bar.name)), "x": 0, "xref": "paper", "yshift": 16}
        figure.add_annotation(name | _words(place, color))
        amount = {"text": f"{significant(value)} {unit}", "x": rounded(value), "xshift": 4}
        figure.add_annotation(amount | _words(place, light("ink")))
    if info.teacher is not None:
        level = rounded(info.teacher.value(quantity) * scale)
        figure.add_shape(
            type="line",
            x0=level,
            x1=level,
            y0=0.2,
            y1=len(bars) - 0.7,
            line={"color": light("teacher"), "width": 1.4, "dash": "dot"},
        )
    return figure


def _legend_entry(group: BarGroup) -> "go.Scatter":
    """A trace that draws nothing: the bars of all groups are one trace, which has one entry."""
    import plotly.graph_objects as go

    return go.Scatter(
        name=GROUP_TITLES[group],
        x=[None],
        y=[None],
        mode="markers",
        marker={
            "symbol": "square-open" if group == "control" else "square",
            "size": 11,
            "color": light(group),
            "line": {"width": 1.8 if group == "control" else 0},
        },
        hoverinfo="skip",
        meta={"key": "sizes"},
    )


def _shortened(name: str) -> str:
    """A name that fits above a bar on a phone; the whole is told where the bar is pointed at."""
    return name if len(name) <= _NAME_LETTERS else f"{name[: _NAME_LETTERS - 1].rstrip()}…"


def _words(place: int, color: str) -> dict[str, Any]:
    """What names and values have in common: the teacher's line and the grid pass behind them."""
    return {
        "y": place,
        "xanchor": "left",
        "showarrow": False,
        "bgcolor": light("paper"),
        "borderpad": 0,
        "font": {"size": 12, "color": color},
    }


def _layout(title: str, most: float, rows: int, height: int) -> dict[str, Any]:
    layout = chart_layout(plot_text(title), "")
    x_axis = {
        "range": [0, rounded(1.22 * most)],
        "nticks": 5,
        "ticklabeloverflow": "allow",
        "fixedrange": True,
        "showgrid": True,
        "gridcolor": light("grid"),
    }
    y_axis = {
        "range": [rows - 0.5, -0.75],
        "visible": False,
        "fixedrange": True,
    }
    return {
        **layout,
        "xaxis": {**layout["xaxis"], **x_axis},
        "yaxis": {**layout["yaxis"], **y_axis},
        "height": height,
        "margin": {"l": 6, "r": 6, "t": 4, "b": 46},
        "legend": {**layout["legend"], "y": 1, "yanchor": "bottom"},
        "dragmode": False,
    }


def _hover(info: SizesInfo, bar: Bar) -> str:
    def line(quantity: Quantity) -> str:
        text = f"{significant(bar.value(quantity))} M {TITLES[quantity].lower()}"
        if quantity == "flops":
            text = text.replace("flops", "FLOPs")
        whole = 0.0 if info.teacher is None else info.teacher.value(quantity)
        if bar is info.teacher or whole <= 0:
            return text
        return f"{text}, {percent(bar.value(quantity) / whole)} of the teacher's"

    lines = [f"<b>{plot_text(bar.name)}</b>", line("params"), line("flops")]
    return "<br>".join([*lines, *(plot_text(text) for text in bar.about)])


def percent(share: float) -> str:
    """A share to two digits: `0.71 %`, `49 %`, `560 %`."""
    return f"{significant(float(f'{100 * share:.2g}'), 2)}{NBSP}%"
