"""The front chart: the score over latency, every configuration that has both.

In two steps: `front_info` works out every number and text that is drawn, `front_figure` only draws
them.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from analysis.charts.hover import hover_text, teacher_hover
from analysis.charts.marks import Arrow, Axis, Group, Mark, view_of, with_room
from analysis.charts.palette import light
from analysis.charts.style import chart_layout, level_line, log_axis, plot_text, rounded
from analysis.findings import flat_front, point_of, speed_up
from analysis.formatting import score_text
from analysis.front import KdPair, is_distilled
from analysis.record import StudyResults
from analysis.results import ModelSize, TeacherResult, TrialResult
from analysis.runs import half_width
from analysis.stored_plan import Space

if TYPE_CHECKING:
    import plotly.graph_objects as go

MAX_DRAWN_PAIRS = 12


class FrontInfo(NamedTuple):
    """Everything the front chart shows.

    Args:
        marks: configurations that have a score and a latency.
        step: corners of the front of score and latency, fastest first, as (latency ms, score).
        labelled: names of the front members that have room for their name.
        arrows: from controls to their distilled twins.
        teacher: the teacher, or None.
        floor: the score of always naming the largest class, where that is the score's floor.
        view: lowest and highest score first shown.
        below_view: configurations under that view.
        x_title: title of the latency axis.
        y_title: title of the score's axis.
        space: names and units of what is optimised.
    """

    marks: tuple[Mark, ...]
    step: tuple[tuple[float, float], ...]
    labelled: frozenset[str]
    arrows: tuple[Arrow, ...]
    teacher: Mark | None
    floor: float | None
    view: tuple[float, float]
    below_view: int
    x_title: str
    y_title: str
    space: Space


def front_info(results: StudyResults) -> FrontInfo:
    """Works out the front chart of a study; without a complete trial the front is empty."""
    groups: dict[int, Group] = {trial.number: "rival" for trial in results.near_rivals}
    groups |= {trial.number: "front" for trial in results.front}
    pairs = {pair.distilled.number: pair for pair in results.pairs}
    marks = tuple(
        _mark(results, trial, groups.get(trial.number) or _group(trial), pairs.get(trial.number))
        for trial in results.configurations
        if trial.status in ("complete", "stopped")
        and trial.val_score is not None
        and trial.latency_ms is not None
    )
    # The chart has two axes: a third objective adds members below this line, and moves it nowhere.
    points = [point_of(results, trial) for trial in flat_front(results)]
    corners = tuple((latency, score) for score, latency in points)
    teacher = _teacher_mark(results)
    space = results.plan.space
    view, below = view_of([*marks, *([teacher] if teacher else [])], space.score.best)
    score, latency = space.objectives[:2]
    return FrontInfo(
        marks=marks,
        step=corners,
        labelled=with_room([mark for mark in marks if mark.group == "front"], view),
        arrows=_arrows(results),
        teacher=teacher,
        floor=results.plan.data.floor_score if space.score.has_majority_floor else None,
        view=view,
        below_view=below,
        x_title=_axis_title(latency.label, latency.unit),
        y_title=_axis_title(score.label, score.unit),
        space=space,
    )


def _axis_title(label: str, unit: str) -> str:
    return plot_text(f"{label[:1].upper()}{label[1:]}, {unit}")


def _group(trial: TrialResult) -> Group:
    return "stopped" if trial.status == "stopped" else "dominated"


def _mark(results: StudyResults, trial: TrialResult, group: Group, pair: KdPair | None) -> Mark:
    score = results.val_score(trial)
    assert trial.latency_ms is not None
    assert score is not None
    return Mark(
        trial=trial.name,
        latency_ms=trial.latency_ms,
        val_score=score,
        group=group,
        distilled=is_distilled(trial, results.plan.space),
        hover=hover_text(results, trial, pair),
        bar=_bar(results, trial) if group in ("front", "rival") else None,
        others=_others(speed_up(results, trial), trial.model),
        breaks=trial.outcome is not None and trial.outcome.breaks is not None,
    )


def _others(ratio: float | None, model: ModelSize | TeacherResult | None) -> Mapping[Axis, float]:
    """Places on the axes beside that of latency, as far as they are known and above zero."""
    known: dict[Axis, float | None] = {"ratio": ratio}
    if model is not None:
        known |= {"params": model.params_m, "flops": model.flops_m}
    return {axis: value for axis, value in known.items() if value is not None and value > 0}


def _bar(results: StudyResults, trial: TrialResult) -> float | None:
    """Half of the 95 % interval of a mean over several runs; None of a single run.

    With the deviation pooled over the study, as the probabilities of being on the front have it:
    that of three runs alone is hardly known.
    """
    estimate = results.validation.get(trial.number)
    if estimate is None or estimate.runs < 2 or results.spread is None:
        return None
    error = results.spread.deviation(estimate.mean) / math.sqrt(estimate.runs)
    return half_width(error, results.spread.freedom)


def _teacher_mark(results: StudyResults) -> Mark | None:
    teacher, reference = results.teacher, results.reference
    if teacher is None or reference is None:
        return None
    hover = teacher_hover(results, teacher, reference.latency_ms)
    others = _others(1.0, teacher)
    return Mark(
        "teacher", reference.latency_ms, teacher.val_score, "front", True, hover, others=others
    )


def _arrows(results: StudyResults) -> tuple[Arrow, ...]:
    """One arrow a pair; of many pairs, those of front members."""
    pairs = results.pairs
    if len(pairs) > MAX_DRAWN_PAIRS:
        members = {trial.number for trial in results.front}
        pairs = tuple(pair for pair in pairs if pair.distilled.number in members)
    barred = {trial.number for trial in (*results.front, *results.near_rivals)}
    arrows = []
    for pair in pairs[:MAX_DRAWN_PAIRS]:
        control, distilled = (
            (trial.latency_ms or 0.0, results.val_score(trial) or 0.0)
            for trial in (pair.control, pair.distilled)
        )
        has_bar = pair.distilled.number in barred
        if control[0] > 0 and distilled[0] > 0:
            bar = _bar(results, pair.distilled) if has_bar else None
            names = (pair.control.name, pair.distilled.name)
            arrows.append(Arrow(control, distilled, bar, names))
    return tuple(arrows)


def front_figure(info: FrontInfo) -> "go.Figure":
    """Draws the score over latency (log axis): the front, what it dominates, the teacher."""
    import plotly.graph_objects as go

    figure = go.Figure(layout=chart_layout(info.x_title, info.y_title))
    stopped = [mark for mark in info.marks if mark.group == "stopped"]
    dominated = [mark for mark in info.marks if mark.group == "dominated"]
    size = 0.7 if len(info.marks) > _MANY else 1.0
    for trace in (
        _cloud("stopped", stopped, size),
        _cloud("dominated", [mark for mark in dominated if mark.distilled], size),
        _cloud("control", [mark for mark in dominated if not mark.distilled], size),
        _rivals([m for m in info.marks if m.group == "rival"], info.space.score.best),
        _step_line(info),
        _front_marks(info),
        _teacher_star(info.teacher),
    ):
        if trace is not None:
            figure.add_trace(trace)
    figure.update_layout(annotations=[arrow_annotation(arrow) for arrow in info.arrows])
    if info.floor is not None:
        score = info.space.score
        label = f"{score.floor_name} {score_text(info.floor, score.unit)}"
        level_line(figure, info.floor, label, "muted", width=1.0, below=True)
    latencies = [mark.latency_ms for mark in (*info.marks, info.teacher) if mark is not None]
    figure.update_xaxes(log_axis(latencies))
    figure.update_yaxes(range=[round(bound, 3) for bound in info.view])
    return figure


_MANY = 150  # marks, from where on all but the front are drawn smaller

_CLOUDS: dict[str, dict[str, Any]] = {
    "stopped": {
        "name": "stopped early",
        "marker": {
            "symbol": "x-thin", "size": 6, "color": light("stopped"),
            "line": {"width": 1.4, "color": light("stopped")},
        },
    },
    "dominated": {
        "name": "dominated",
        "marker": {"symbol": "diamond", "size": 7.5, "color": light("dominated"), "opacity": 0.8},
    },
    "control": {
        "name": "no distillation",
        "marker": {
            "symbol": "diamond-open", "size": 9, "color": light("control"),
            "line": {"width": 1.8, "color": light("control")},
        },
    },
}  # fmt: skip


def _points(marks: Sequence[Mark]) -> dict[str, Any]:
    return {
        "x": [rounded(mark.latency_ms) for mark in marks],
        "y": [rounded(mark.val_score) for mark in marks],
        "hovertext": [mark.hover for mark in marks],
        "hoverinfo": "text",
        "customdata": [mark.trial for mark in marks],
    }


def _bars(marks: Sequence[Mark], color: str, best: float) -> dict[str, Any]:
    """Error bars of the marks that have one; none goes beyond the best score there is."""
    if all(mark.bar is None for mark in marks):
        return {}
    above = [
        None if mark.bar is None else rounded(min(mark.bar, max(best - mark.val_score, 0.0)))
        for mark in marks
    ]
    return {
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": above,
            "arrayminus": [None if mark.bar is None else rounded(mark.bar) for mark in marks],
            "color": light(color),
            "thickness": 1.6,
            "width": 4,
        }
    }


def _cloud(key: str, marks: Sequence[Mark], size: float) -> "go.Scatter | None":
    import plotly.graph_objects as go

    if not marks:
        return None
    trace = go.Scatter(mode="markers", meta={"key": key}, **_CLOUDS[key], **_points(marks))
    trace.marker.size *= size
    return trace


def _rivals(marks: Sequence[Mark], best: float) -> "go.Scatter | None":
    import plotly.graph_objects as go

    if not marks:
        return None
    return go.Scatter(
        mode="markers",
        name="near rivals",
        marker={
            "symbol": ["diamond" if mark.distilled else "diamond-open" for mark in marks],
            "size": 9,
            "color": light("rival"),
            "line": {"width": [0 if mark.distilled else 1.8 for mark in marks]},
        },
        meta={"key": "rival"},
        **_points(marks),
        **_bars(marks, "rival", best),
    )


def arrow_annotation(arrow: Arrow) -> dict[str, Any]:
    """An arrow from a control to its distilled twin; annotations take log values on a log axis."""
    (from_x, from_y), (to_x, to_y) = arrow.control, arrow.distilled
    below = to_y - (arrow.bar or 0.0)
    ends_below = to_y > below > from_y  # where the bar begins, which it would lie upon
    return {
        "name": "control",
        "x": round(math.log10(to_x), 5),
        "y": rounded(below if ends_below else to_y),
        "ax": round(math.log10(from_x), 5),
        "ay": rounded(from_y),
        "xref": "x",
        "yref": "y",
        "axref": "x",
        "ayref": "y",
        "text": "",
        "arrowhead": 2,
        "arrowsize": 0.9,
        "arrowwidth": 1.5,
        "arrowcolor": light("control"),
        "standoff": 1 if ends_below else 6,
        "startstandoff": 5,
    }


def _step_line(info: FrontInfo) -> "go.Scatter | None":
    """The best score reached within each latency, on to the teacher's latency."""
    import plotly.graph_objects as go

    if not info.step:
        return None
    corners = list(info.step)
    if info.teacher is not None and info.teacher.latency_ms > corners[-1][0]:
        corners.append((info.teacher.latency_ms, corners[-1][1]))
    return go.Scatter(
        x=[rounded(x) for x, _ in corners],
        y=[rounded(y) for _, y in corners],
        mode="lines",
        line={"shape": "hv", "width": 2, "color": light("front-soft")},
        hoverinfo="skip",
        showlegend=False,
        meta={"key": "front"},
    )


def _front_marks(info: FrontInfo) -> "go.Scatter | None":
    import plotly.graph_objects as go

    marks = [mark for mark in info.marks if mark.group == "front"]
    if not marks:
        return None
    return go.Scatter(
        mode="markers+text",
        name="front",
        marker={
            "symbol": ["circle" if mark.distilled else "circle-open" for mark in marks],
            "size": 11 if all(mark.bar is None for mark in marks) else 9,
            "color": light("front"),
            "line": {"width": [0 if mark.distilled else 2.4 for mark in marks]},
        },
        text=[mark.trial if mark.trial in info.labelled else "" for mark in marks],
        textposition="top left",
        textfont={"size": 12, "color": light("front")},
        cliponaxis=False,
        meta={"key": "front"},
        **_points(marks),
        **_bars(marks, "front", info.space.score.best),
    )


def _teacher_star(teacher: Mark | None) -> "go.Scatter | None":
    import plotly.graph_objects as go

    if teacher is None:
        return None
    return go.Scatter(
        mode="markers+text",
        name="teacher",
        marker={"symbol": "star", "size": 17, "color": light("teacher")},
        text=["teacher"],
        textposition="top center",
        textfont={"size": 12, "color": light("teacher")},
        cliponaxis=False,
        meta={"key": "teacher"},
        **_points([teacher]),
    )
