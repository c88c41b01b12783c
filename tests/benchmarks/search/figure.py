"""Regret against epochs spent, drawn for every arm."""

import statistics
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import log10
from pathlib import Path

from plotly.subplots import make_subplots

from analysis.charts.palette import light
from analysis.charts.style import FONT
from tests.benchmarks.search.lcbench import EPOCHS
from tests.benchmarks.search.simulate import Job, Run, budget_of

_OURS = "ours"
# The peers that are told apart; the others are drawn alike, with their names at the end.
_COLOURS = {_OURS: "front", "GP": "teacher", "TPE": "control"}
_FLOOR = 0.01


def median_regret(
    runs: Mapping[Job, Run], arm: str, workers: int, at: Sequence[int]
) -> list[float]:
    """The median over tasks of each task's median over seeds, after so many epochs each."""
    by_task: dict[str, list[list[float]]] = defaultdict(list)
    for (name, task, _, count), run in runs.items():
        if (name, count) == (arm, workers):
            by_task[task].append([_regret_after(run, epochs) for epochs in at])
    return _medians([_medians(curves) for curves in by_task.values()])


def _medians(curves: Sequence[Sequence[float]]) -> list[float]:
    return [statistics.median(values) for values in zip(*curves, strict=True)]


def _regret_after(run: Run, epochs: int) -> float:
    done = [spent for spent, _ in run.regret]
    return run.regret[bisect_right(done, epochs) - 1][1]


def draw(runs: Mapping[Job, Run], arms: Iterable[str], workers: Sequence[int], path: Path) -> None:
    """Write the figure: a page where the name ends in ``.html``, else a picture.

    Args:
        runs: The simulated studies.
        arms: Who is drawn.
        workers: A panel for each.
        path: The file; a picture needs kaleido and a browser.
    """
    titles = [f"{count} worker{'s' if count > 1 else ''}" for count in workers]
    figure = make_subplots(1, len(workers), shared_yaxes=True, subplot_titles=titles)
    for column, count in enumerate(workers, start=1):
        most, ends = budget_of(count), []
        at = list(range(0, most + 1, EPOCHS // 4))
        for arm in arms:
            values = [max(value, _FLOOR) for value in median_regret(runs, arm, count, at)]
            colour = light(_COLOURS.get(arm, "stopped"))
            figure.add_scatter(
                x=[epochs / EPOCHS for epochs in at], y=values, name=arm, mode="lines",
                line={"color": colour, "width": 3 if arm == _OURS else 1.5}, showlegend=False,
                row=1, col=column,
            )  # fmt: skip
            ends.append((values[-1], arm))
        trainings = most // EPOCHS
        figure.update_xaxes(
            range=[0, 1.32 * trainings], tickvals=[i * trainings // 4 for i in range(5)],
            row=1, col=column,
        )  # fmt: skip
        ends.sort()
        heights = _apart([value for value, _ in ends])
        for height, (_, arm) in zip(heights, ends, strict=True):
            figure.add_annotation(
                x=at[-1] / EPOCHS, y=height, text=arm, xanchor="left", xshift=6, showarrow=False,
                font={"color": light(_COLOURS.get(arm, "muted")), "size": 12}, row=1, col=column,
            )  # fmt: skip
    axis = {"gridcolor": light("grid"), "linecolor": light("line"), "zeroline": False}
    figure.update_xaxes(**axis, title="epochs spent, in full trainings")
    figure.update_yaxes(**axis, type="log", tickvals=[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1])
    figure.update_yaxes(title="regret", row=1, col=1)
    figure.update_layout(
        template="none", font={"family": FONT, "size": 13, "color": light("ink")},
        paper_bgcolor=light("paper"), plot_bgcolor=light("paper"),
        margin={"l": 60, "r": 34, "t": 40, "b": 55}, width=440 * len(workers), height=430,
    )  # fmt: skip
    if path.suffix == ".html":
        figure.write_html(path)
    else:
        figure.write_image(path, scale=2)


def _apart(values: Sequence[float]) -> list[float]:
    """Heights (log10) of labels, ascending, moved so that none lies on another."""
    heights: list[float] = []
    for value in values:
        height = log10(max(value, _FLOOR))
        heights.append(max(height, heights[-1] + 0.075) if heights else height)
    return heights
