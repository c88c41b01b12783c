"""How the hypervolume of the front grew with the epochs that were spent."""

from typing import TYPE_CHECKING, NamedTuple

from analysis.charts.palette import light
from analysis.charts.style import chart_layout, rounded
from analysis.formatting import counted
from analysis.front import Point, hypervolume, non_dominated, trial_point
from analysis.record import StudyResults
from analysis.results import ReferencePoint, TrialResult, searched

if TYPE_CHECKING:
    import plotly.graph_objects as go


class Step(NamedTuple):
    """A trial that moved the front: epochs spent until it ended, and the hypervolume then."""

    trial: str
    epochs: int
    hypervolume: float


class ProgressInfo(NamedTuple):
    """The growth of the front over the search.

    Args:
        steps: trials that moved the front, in the order in which they ended.
        epochs: epochs that the search spent in all.
        reference: the corners the hypervolume is measured between.
    """

    steps: tuple[Step, ...]
    epochs: int
    reference: ReferencePoint


def progress_info(results: StudyResults) -> ProgressInfo | None:
    """Works out the growth; None before the first front or before its corners are known.

    The epochs of a trial, also of one that was stopped or failed, count when it ended, and exits
    of one network count once. Scores are those of the search's own runs: replicates and controls
    trained after it have no part.
    """
    reference = results.reference
    if reference is None:
        return None
    steps: list[Step] = []
    front: list[Point] = []
    epochs, reached = 0, 0.0
    for trial in _by_end(results):
        epochs += trial.epochs_done if trial.trained_with is None else 0
        point = trial_point(trial)
        if point is None:
            continue
        candidates = [*front, point]
        front = [p for p, kept in zip(candidates, non_dominated(candidates), strict=True) if kept]
        area = hypervolume(front, reference)
        if area > reached:
            reached = area
            steps.append(Step(trial.name, epochs, area))
    if not steps:
        return None
    running = sum(t.epochs_done for t in searched(results.trials) if t.outcome is None)
    return ProgressInfo(tuple(steps), epochs + running, reference)


def _by_end(results: StudyResults) -> list[TrialResult]:
    """Trials of the search in the order in which they ended; exits after their network."""
    ended = [(t.outcome.finished_at, t.number, t) for t in searched(results.trials) if t.outcome]
    return [trial for _, _, trial in sorted(ended, key=lambda entry: entry[:2])]


def progress_figure(info: ProgressInfo) -> "go.Figure":
    """Draws the hypervolume as a step line with a mark where a trial moved the front."""
    import plotly.graph_objects as go

    figure = go.Figure(layout=chart_layout("Epochs spent", "Hypervolume of the front"))
    x = [step.epochs for step in info.steps]
    y = [rounded(step.hypervolume) for step in info.steps]
    line = {"shape": "hv", "width": 2, "color": light("front-soft")}
    figure.add_trace(
        go.Scatter(
            x=[0, *x, info.epochs], y=[0, *y, y[-1]], mode="lines", line=line, hoverinfo="skip",
            meta={"key": "line"},
        )
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=x,
            y=y,
            mode="markers",
            marker={"symbol": "circle", "size": 8, "color": light("front")},
            hovertext=[
                f"<b>{step.trial}</b><br>hypervolume {step.hypervolume:.3f}"
                f"<br>after {counted(step.epochs, 'epoch')}"
                for step in info.steps
            ],
            hoverinfo="text",
            customdata=[step.trial for step in info.steps],
            cliponaxis=False,
            meta={"key": "steps"},
        )
    )
    figure.update_xaxes(range=[0, 1.02 * max(info.epochs, 1)])
    figure.update_yaxes(rangemode="tozero")
    return figure
