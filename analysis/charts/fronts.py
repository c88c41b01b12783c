"""The fronts of several studies in one chart: a line, a colour and a shape a study."""

from typing import TYPE_CHECKING

from analysis.charts.palette import light
from analysis.charts.style import chart_layout, log_axis, plot_text, rounded
from analysis.comparison import Compared, Comparison, Member
from analysis.formatting import milliseconds, number, score_text, times

if TYPE_CHECKING:
    import plotly.graph_objects as go

SYMBOLS = ("circle", "square", "triangle-up", "pentagon", "cross", "hexagon")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def look(place: int) -> tuple[str, str, str]:
    """Colour name, symbol and dash of the study at a place; shapes shift where colours repeat."""
    count = len(SYMBOLS)
    shape = (place + place // count) % count
    return f"study-{place % count + 1}", SYMBOLS[shape], _DASHES[shape]


def fronts_figure(comparison: Comparison) -> "go.Figure":
    """Draws the score over the latency (log axis) of every front, with its teacher as a star."""
    import plotly.graph_objects as go

    space = comparison.studies[0].results.plan.space
    title = f"Validation {space.score.name}, {space.score.unit}"
    x_title = f"Latency over the {space.yardstick}'s, batch 1" if comparison.relative else (
        "Latency (batch 1), ms"
    )  # fmt: skip
    figure = go.Figure(layout=chart_layout(plot_text(x_title), plot_text(title)))
    places: list[float] = []
    for place, study in enumerate(comparison.studies):
        places += [member.across for member in study.members]
        color, symbol, dash = look(place)
        key = f"study-{place + 1}"
        flat = _steps(study.members)
        figure.add_trace(
            go.Scatter(
                x=[rounded(x) for x, _ in flat],
                y=[rounded(y) for _, y in flat],
                mode="lines",
                line={"shape": "hv", "width": 1.8, "color": light(color), "dash": dash},
                hoverinfo="skip",
                meta={"key": key},
            )
        )
        figure.add_trace(
            go.Scatter(
                x=[rounded(member.across) for member in study.members],
                y=[rounded(member.val_score) for member in study.members],
                mode="markers",
                name=plot_text(study.label),
                marker={
                    "symbol": [symbol if m.joint else f"{symbol}-open" for m in study.members],
                    "size": 11,
                    "color": light(color),
                    "line": {"width": [0 if m.joint else 2 for m in study.members]},
                },
                hovertext=[_hover(comparison, study, member) for member in study.members],
                hoverinfo="text",
                cliponaxis=False,
                meta={"key": key},
            )
        )
        teacher, reference = study.results.teacher, study.results.reference
        if teacher is not None and reference is not None:
            across = 1.0 if comparison.relative else reference.latency_ms
            places.append(across)
            words = f"<b>Teacher of {plot_text(study.label)}</b><br>{plot_text(teacher.name)}<br>"
            figure.add_trace(
                go.Scatter(
                    x=[rounded(across)],
                    y=[rounded(teacher.val_score)],
                    mode="markers",
                    marker={"symbol": "star", "size": 15, "color": light(color)},
                    hovertext=[words + score_text(teacher.val_score, space.score.unit)],
                    hoverinfo="text",
                    cliponaxis=False,
                    meta={"key": key},
                )
            )
    figure.update_xaxes(log_axis(places or [1.0]))
    return figure


def _steps(members: tuple[Member, ...]) -> list[tuple[float, float]]:
    """Corners of the best score within each latency."""
    corners: list[tuple[float, float]] = []
    for member in sorted(members, key=lambda m: (m.across, -m.val_score)):
        if not corners or member.val_score > corners[-1][1]:
            corners.append((member.across, member.val_score))
    return corners


def _hover(comparison: Comparison, study: Compared, member: Member) -> str:
    unit = study.results.plan.space.score.unit
    place = "on the joint front" if member.joint else "not on the joint front"
    across = (
        f"{number(member.across, 3)} of its {study.results.plan.space.yardstick}'s latency"
        if comparison.relative
        else milliseconds(member.across)
    )
    lines = [
        f"<b>{plot_text(study.label)} {member.trial.name}</b>",
        plot_text(member.trial.label or member.trial.architecture),
        f"{score_text(member.val_score, unit)} at {plot_text(across)}",
        f"{times(member.ratio)} as fast as its {study.results.plan.space.yardstick}",
        place,
    ]
    return "<br>".join(lines)
