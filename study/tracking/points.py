"""Values as points of MLflow's metrics, and the dates of those that only the record knows.

A run that is replayed is dated by its record: it starts and ends when its trial did, and its epochs
fill the time between, each in proportion to the seconds it took.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from numbers import Real
from typing import Any, Final

from analysis.results import EpochResult, TrialResult
from study.tracking.delivery import Point, Replay

# MLflow's metric of a curve, by the field of an epoch's result it shows. The step is the epoch.
CURVES: Final = {
    "val_score": "val_score",
    "val_loss": "val_loss",
    "train_loss": "train_loss",
    "learning_rate": "learning_rate",
    "seconds": "epoch_seconds",
}
FINAL: Final = "final/"  # set before the name of a value that has no curve


def points_of(metrics: Mapping[str, Any], step: int, at: int) -> list[Point]:
    """Points of all values that are there and finite, NumPy's own numbers among them."""
    return [
        Point(key, float(value), step, at)
        for key, value in metrics.items()
        if isinstance(value, Real) and math.isfinite(value)
    ]


def epoch_points(result: Mapping[str, Any], at: int) -> list[Point]:
    """The points of one epoch's result, an `EpochResult` as JSON."""
    step = int(result.get("epoch") or 0)
    return points_of({CURVES[key]: result.get(key) for key in CURVES}, step, at)


def final_points(metrics: Mapping[str, float | None], at: int) -> list[Point]:
    """The points of values without a curve."""
    return points_of({FINAL + key.removeprefix(FINAL): v for key, v in metrics.items()}, 0, at)


def curve_replay(curve: Sequence[EpochResult], start: int, end: int) -> Replay:
    """The curves of a trial that ran from `start` to `end` (ms), for a run that may lack some."""

    def points() -> list[Point]:
        seconds = [epoch.seconds for epoch in curve]
        dated = zip(curve, epoch_times(seconds, start, end), strict=True)
        return [point for epoch, at in dated for point in epoch_points(epoch.to_json(), at)]

    last = epoch_points(curve[-1].to_json(), end) if curve else []
    return Replay({point.key: point.value for point in last}, points)


def epoch_times(seconds: Sequence[float], start: int, end: int) -> list[int]:
    """When each epoch ended (ms): the last one at `end`, each after a share by its seconds."""
    shares = [length if math.isfinite(length) and length > 0 else 0.0 for length in seconds]
    whole = sum(shares)
    if whole == 0:
        shares, whole = [1.0] * len(shares), float(len(shares))
    return [start + round((end - start) * done / whole) for done in accumulate(shares)]


def span(trial: TrialResult, otherwise: int) -> tuple[int, int]:
    """When a trial started and ended (ms).

    What the record does not tell follows from the seconds that the trial trained for; where it
    tells neither, the trial is taken to have ended at `otherwise` (ms).
    """
    trained = round(1000 * trial.train_seconds) if math.isfinite(trial.train_seconds) else 0
    start = milliseconds(trial.started_at)
    end = milliseconds(trial.outcome.finished_at if trial.outcome else None)
    if end is None:
        end = otherwise if start is None else start + trained
    if start is None:
        start = end - trained
    return min(start, end), end


def milliseconds(date: str | None) -> int | None:
    """A date as ISO 8601 in ms since 1970; None where there is none to be read."""
    try:
        return None if date is None else round(datetime.fromisoformat(date).timestamp() * 1000)
    except ValueError:
        return None


def teacher_times(curve: Iterable[Mapping[str, Any]], end: int) -> list[int]:
    """When a teacher's training started, and each of its epochs ended (ms), the last at `end`."""
    times = [end]
    for result in reversed(list(curve)):
        times.append(times[-1] - round(1000 * float(result.get("seconds") or 0.0)))
    return times[::-1]
