"""The learning curves: validation score by epoch, every trial that has trained.

The curves of replicates are those of their configuration, drawn thinner than its first.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from analysis.charts.palette import light
from analysis.charts.style import chart_layout, level_line, plot_text, rounded
from analysis.formatting import score_text
from analysis.front import is_distilled
from analysis.record import StudyResults
from analysis.results import TrialResult, trial_name
from analysis.stored_plan import Score

if TYPE_CHECKING:
    import plotly.graph_objects as go

CurveGroup = Literal["front", "control", "dominated", "stopped", "failed", "running"]

# Drawn in this order: what matters most lies on top.
_DRAWN: dict[CurveGroup, dict[str, Any]] = {
    "failed": {"name": "failed", "width": 1, "dash": "dot", "color": "failed", "end": "x-thin"},
    "stopped": {"name": "stopped early", "width": 1, "color": "stopped", "end": "x-thin"},
    "dominated": {"name": "dominated", "width": 1, "color": "dominated", "opacity": 0.55},
    "running": {"name": "running", "width": 1.6, "dash": "dash", "color": "dominated",
                "end": "triangle-right"},
    "control": {"name": "no distillation", "width": 1.6, "dash": "dash", "color": "control"},
    "front": {"name": "front", "width": 2.2, "color": "front"},
}  # fmt: skip


class Curve(NamedTuple):
    """One trial's validation score after each epoch it has done.

    Of a replicate, `run` tells which run of its configuration it is, `of` the name of the first.
    """

    trial: str
    group: CurveGroup
    epochs: tuple[int, ...]
    scores: tuple[float, ...]
    run: int = 0
    of: str | None = None

    @property
    def called(self) -> str:
        """What it is called where it is pointed at."""
        return self.trial if self.of is None else f"{self.of}, run {self.run} ({self.trial})"


class CurvesInfo(NamedTuple):
    """Everything the learning-curve chart shows.

    Args:
        curves: one a trial that has finished an epoch.
        labelled: names of front members that have room for their name at the end.
        teacher: the teacher's validation score, or None.
        floor: the score of always naming the largest class, where that is the score's floor.
        score: name and unit of the score.
        rungs: epochs at which trials were stopped, with how many they were.
        waiting: epochs at which trials stand, free to go on, with how many they are.
    """

    curves: tuple[Curve, ...]
    labelled: frozenset[str]
    teacher: float | None
    floor: float | None
    score: Score
    rungs: tuple[tuple[int, int], ...] = ()
    waiting: tuple[tuple[int, int], ...] = ()


def curves_info(results: StudyResults) -> CurvesInfo:
    """Works out the learning curves of a study."""
    members = {trial.number for trial in results.front}
    firsts = {trial.number: trial for trial in results.configurations}
    curves = [
        Curve(
            trial=trial.name,
            group=_group(results, trial, firsts, members),
            epochs=tuple(epoch.epoch for epoch in trial.curve),
            scores=tuple(epoch.val_score for epoch in trial.curve),
            run=trial.run,
            of=None if trial.replicate_of is None else trial_name(trial.replicate_of),
        )
        for trial in results.trials
        if trial.curve
    ]
    score = results.plan.space.score
    return CurvesInfo(
        curves=tuple(curves),
        labelled=_with_room(curves),
        teacher=None if results.teacher is None else results.teacher.val_score,
        floor=results.plan.data.floor_score if score.has_majority_floor else None,
        score=score,
        rungs=_counted(t.outcome.rung for t in results.trials if t.outcome is not None),
        waiting=_counted(trial.waits_at for trial in results.trials),
    )


def _counted(rungs: Iterable[int | None]) -> tuple[tuple[int, int], ...]:
    """The rungs that are named, ascending, each with how many trials name it."""
    return tuple(sorted(Counter(rung for rung in rungs if rung is not None).items()))


def _group(
    results: StudyResults,
    trial: TrialResult,
    firsts: Mapping[int, TrialResult],
    members: Collection[int],
) -> CurveGroup:
    """What a curve is drawn as: a complete run as its configuration, any other as it ended."""
    if trial.status == "complete":
        first = trial if trial.replicate_of is None else firsts.get(trial.replicate_of, trial)
        if first.number in members:
            return "front"
        return "dominated" if is_distilled(first, results.plan.space) else "control"
    return "failed" if trial.status == "infeasible" else trial.status


def _with_room(curves: Sequence[Curve]) -> frozenset[str]:
    """Front members whose names can stand at the ends of their curves without touching."""
    reached = [a for curve in curves for a in curve.scores if math.isfinite(a)]
    apart = 0.05 * max(max(reached, default=1.0) - min(reached, default=0.0), 1e-9)
    names: list[str] = []
    heights: list[float] = []
    for curve in sorted(curves, key=lambda c: -c.scores[-1]):
        end = curve.scores[-1]
        if (
            curve.group == "front"
            and curve.of is None
            and all(abs(end - other) >= apart for other in heights)
        ):
            names.append(curve.trial)
            heights.append(end)
    return frozenset(names)


def curves_figure(info: CurvesInfo) -> "go.Figure":
    """Draws the learning curves: the front in front, with names at the ends of the curves."""
    import plotly.graph_objects as go

    unit = plot_text(info.score.unit)
    y_title = f"Validation {plot_text(info.score.name)}, {unit}"
    figure = go.Figure(layout=chart_layout("Epoch", y_title))
    for group, style in _DRAWN.items():
        drawn = [curve for curve in info.curves if curve.group == group]
        further = [curve for curve in drawn if curve.of is not None]
        if further:
            name, opacity = f"{style['name']}, further runs", 0.6 * style.get("opacity", 1)
            thin = {**style, "name": name, "width": 1, "opacity": opacity}
            figure.add_trace(_lines(group, thin, further, info.labelled, unit))
        first = [curve for curve in drawn if curve.of is None]
        if first:
            figure.add_trace(_lines(group, style, first, info.labelled, unit))
    longest = max((curve.epochs[-1] for curve in info.curves), default=1)
    if info.teacher is not None:
        label = f"teacher {score_text(info.teacher, info.score.unit)}"
        level_line(figure, info.teacher, label, "teacher")
    if info.floor is not None:
        label = f"{info.score.floor_name} {score_text(info.floor, info.score.unit)}"
        level_line(figure, info.floor, label, "muted", width=1.0, below=True)
    out, waiting = dict(info.rungs), dict(info.waiting)
    for place, rung in enumerate(sorted({*out, *waiting})):
        _rung_line(figure, rung, out.get(rung, 0), waiting.get(rung, 0), 13 * (place % 3))
    figure.update_xaxes(range=[0.5, max(longest, 2) * (1.09 if info.labelled else 1.02)])
    if longest < 8:
        figure.update_xaxes(dtick=1)
    return figure


def _rung_line(figure: "go.Figure", rung: int, out: int, waiting: int, above: int) -> None:
    """A thin line up a chart at a rung; near its foot, how many it stopped and how many wait."""
    words = [f"{out} out"] if out else []
    words += [f"{waiting} waiting"] if waiting else []
    figure.add_shape(
        type="line",
        x0=rung,
        x1=rung,
        y0=0,
        y1=1,
        yref="paper",
        line={"color": light("line"), "width": 1, "dash": "dash"},
        layer="below",
    )
    figure.add_annotation(
        text=", ".join(words),
        font={"color": light("muted"), "size": 11},
        x=rung,
        xanchor="left",
        xshift=2,
        y=0,
        yref="paper",
        yanchor="bottom",
        yshift=above,
        showarrow=False,
    )


def _lines(
    group: CurveGroup,
    style: dict[str, Any],
    curves: Sequence[Curve],
    labelled: frozenset[str],
    unit: str,
) -> "go.Scatter":
    """Every curve of a group in one trace, with gaps between them: a thousand stay quick."""
    import plotly.graph_objects as go

    x: list[int | None] = []
    y: list[float | None] = []
    hover: list[str] = []
    text: list[str] = []
    sizes: list[int] = []
    end_size = 7 if "end" in style else 0
    for curve in curves:
        blank = len(curve.epochs) - 1
        x += [*curve.epochs, None]
        y += [*(_drawable(score) for score in curve.scores), None]
        hover += [curve.called] * (blank + 2)
        text += [*[""] * blank, f"\u00a0{curve.trial}" if curve.trial in labelled else "", ""]
        sizes += [*[0] * blank, end_size, 0]
    color = light(style["color"])
    named = any(text)
    return go.Scatter(
        x=x,
        y=y,
        mode="+".join(["lines", *["markers"] * bool(end_size), *["text"] * named]),
        name=style["name"],
        line={"width": style["width"], "color": color, "dash": style.get("dash", "solid")},
        marker={"symbol": style["end"], "size": sizes, "color": color, "opacity": 1,
                "line": {"width": 1.4, "color": color}} if end_size else None,
        opacity=style.get("opacity", 1),
        text=text if named else None,
        textposition="middle right",
        textfont={"size": 12, "color": color},
        cliponaxis=False,
        customdata=hover,
        hovertemplate=f"%{{customdata}}, epoch %{{x}}: %{{y:.1f}} {unit}<extra></extra>",
        connectgaps=False,
        meta={"key": group},
    )  # fmt: skip


def _drawable(score: float) -> float | None:
    return rounded(score) if math.isfinite(score) else None
