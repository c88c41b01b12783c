"""The front chart over something else than latency: the ratio to the teacher, parameters, FLOPs.

Only what an axis changes is worked out here; marks, names and colours stay those of the chart.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from analysis.charts.front_chart import FrontInfo, arrow_annotation, front_figure
from analysis.charts.marks import Arrow, Axis, Mark, with_room
from analysis.charts.style import log_axis, plot_text, rounded
from analysis.front import non_dominated

if TYPE_CHECKING:
    import plotly.graph_objects as go

AXES: dict[Axis, str] = {
    "latency": "Latency",
    "ratio": "Speed-up",
    "params": "Parameters",
    "flops": "FLOPs",
}


class AxisInfo(NamedTuple):
    """The front chart's places over one axis.

    Args:
        axis: which.
        title: title of the axis, with its unit.
        places: where each mark stands, by the name of its trial; marks without one are left out.
        step: corners of the best score reached within each value, as (value, score), ascending.
        labelled: front members that have room for their name.
        arrows: from controls to their distilled twins, in the axis's values.
    """

    axis: Axis
    title: str
    places: dict[str, float]
    step: tuple[tuple[float, float], ...]
    labelled: frozenset[str]
    arrows: tuple[Arrow, ...]


def axis_info(info: FrontInfo, axis: Axis) -> AxisInfo | None:
    """Works out the front chart over an axis; None where no mark has a place on it.

    The line is redrawn: it is the best score among fully trained students within each number of
    parameters or FLOPs, or at each speed-up or more. The members stay those of the study's front.
    """
    marks = [*info.marks, *([info.teacher] if info.teacher else [])]
    places = {mark.trial: place for mark in marks if (place := mark.on(axis)) is not None}
    if not any(mark.trial in places for mark in info.marks):
        return None
    trained = [m for m in info.marks if m.group != "stopped" and m.trial in places]
    front = [m._replace(latency_ms=places[m.trial]) for m in trained if m.group == "front"]
    arrows = [
        arrow._replace(
            control=(places[arrow.names[0]], arrow.control[1]),
            distilled=(places[arrow.names[1]], arrow.distilled[1]),
        )
        for arrow in info.arrows
        if all(name in places for name in arrow.names)
    ]
    yardstick = info.space.yardstick
    titles: dict[Axis, str] = {
        "latency": info.x_title,
        "ratio": f"Speed-up: {yardstick}'s time over the student's, batch 1",
        "params": "Parameters, M",
        "flops": "FLOPs of one example, M",
    }
    return AxisInfo(
        axis=axis,
        title=titles[axis] if axis == "latency" else plot_text(titles[axis]),
        places=places,
        step=info.step if axis == "latency" else _best_within(trained, places, axis == "ratio"),
        labelled=with_room(front, info.view),
        arrows=tuple(arrows),
    )


def _best_within(
    marks: Sequence[Mark], places: dict[str, float], more_is_better: bool
) -> tuple[tuple[float, float], ...]:
    sign = -1.0 if more_is_better else 1.0
    points = [(mark.val_score, sign * places[mark.trial]) for mark in marks if not mark.breaks]
    kept = {point for point, keep in zip(points, non_dominated(points), strict=True) if keep}
    return tuple(sorted((sign * value, score) for score, value in kept))


def axis_note(info: FrontInfo, axis: Axis) -> str:
    """How the chart is read over an axis, in two or three sentences."""
    score = info.space.score.name
    if axis == "latency":
        line = f" {_latency_line(info)}" if info.step else ""
        return f"Up and left is better; latency is on a log scale.{line}"
    still = "Members of the front stay those by latency."
    if axis == "ratio":
        way, line = "right", f"The line is the best {score} at each speed-up or more."
    else:
        way, name = "left", "FLOPs" if axis == "flops" else "parameters"
        line = f"The line is the best {score} within each number of {name}."
    return f"Up and {way} is better; the axis is logarithmic. {line} {still}"


def _latency_line(info: FrontInfo) -> str:
    """What the line over latency is: by ties in latency it may pass below a student."""
    score = info.space.score.name
    trained = [mark for mark in info.marks if mark.group != "stopped"]
    places = {mark.trial: mark.latency_ms for mark in trained}
    if set(info.step) == set(_best_within(trained, places, more_is_better=False)):
        some_break = any(mark.breaks for mark in info.marks)
        kept = " by students that keep to the limits asked for" if some_break else ""
        return f"The line is the best {score} reached within each latency{kept}."
    members = "the members of the front"
    if info.space.third is not None:
        members += f" that none of them beats in {score} and latency"
    return (
        f"The line joins {members}; students whose latencies are tied with that of a better one "
        "are left off it."
    )


def known_axes(info: FrontInfo) -> dict[Axis, AxisInfo]:
    """The axes that some mark has a place on."""
    return {axis: known for axis in AXES if (known := axis_info(info, axis)) is not None}


def front_changes(info: FrontInfo, axes: Mapping[Axis, AxisInfo]) -> dict[str, Any]:
    """What a page's script reads to show the front chart over each of some axes, by their names.

    Nothing where the chart is not drawn.
    """
    if not info.marks:
        return {}
    return {"axes-front": {name: axis_changes(info, axis) for name, axis in axes.items()}}


def axis_changes(info: FrontInfo, axis: AxisInfo) -> dict[str, Any]:
    """What `charts.js` changes in the drawn front chart to show it over an axis.

    `x` holds a list a trace, in the chart's order; `step` the line's corners and its shape.
    """
    figure: go.Figure = front_figure(info)
    x: list[Any] = []
    step: dict[str, Any] | None = None
    names: list[str] = []
    for trace in figure.data:
        if trace.customdata is None:  # the line
            step = _step(info, axis)
            x.append(step["x"])
            continue
        x.append([_place(axis, str(name)) for name in trace.customdata])
        if trace.meta["key"] == "front":
            names = [str(n) if n in axis.labelled else "" for n in trace.customdata]
    shown = [place for place in axis.places.values() if place > 0]
    layout = log_axis(shown)
    arrows = [arrow_annotation(arrow) for arrow in axis.arrows]
    return {
        "title": axis.title,
        "note": axis_note(info, axis.axis),
        "x": x,
        "step": step,
        "names": names,
        "xaxis": layout,
        "arrows": arrows,
    }


def _place(axis: AxisInfo, name: str) -> float | None:
    place = axis.places.get(name)
    return None if place is None or not math.isfinite(place) else rounded(place)


def _step(info: FrontInfo, axis: AxisInfo) -> dict[str, Any]:
    corners = list(axis.step)
    teacher = axis.places.get("teacher")
    if teacher is not None and corners and axis.axis == "ratio" and teacher < corners[0][0]:
        corners.insert(0, (teacher, corners[0][1]))
    elif teacher is not None and corners and axis.axis != "ratio" and teacher > corners[-1][0]:
        corners.append((teacher, corners[-1][1]))
    return {
        "x": [rounded(x) for x, _ in corners],
        "y": [rounded(y) for _, y in corners],
        "shape": "vh" if axis.axis == "ratio" else "hv",
    }
