"""What is told of a study, its teacher and its trials: names, parameters, tags and figures.

The same words, whether a driver tells them while it happens or the record afterwards.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from analysis.front import Point, dominates, hypervolume, trial_point
from analysis.results import (
    ReferencePoint,
    TeacherResult,
    TrialResult,
    searched,
    trained_alone,
    trial_name,
)
from study.tracking.points import span


@dataclass(frozen=True)
class TrialFacts:
    """What is known of a trial from its start."""

    name: str
    params: Mapping[str, str]
    tags: Mapping[str, str]


class Covered(NamedTuple):
    """The hypervolume (0 to 1) once a number of trials had ended, the last of them at `at` (ms)."""

    trials: int
    hypervolume: float
    at: int


def trial_facts(trial: TrialResult) -> TrialFacts:
    """A trial's name, with its student and how that is taught; its parameters; where it is from."""
    tags = {"source": trial.source, "architecture": trial.architecture}
    if trial.label:
        tags["preset"] = trial.label
    if trial.trained_with is not None:
        tags["trained_with"] = trial.trained_as
    if trial.control_of is not None:
        tags["control_of"] = trial_name(trial.control_of)
    run = ""
    if trial.replicate_of is not None:
        tags |= {"replicate_of": trial_name(trial.replicate_of), "run": str(trial.run)}
        run = f", run {trial.run}"
    return TrialFacts(
        name=f"{trial.name} {trial.architecture}{_terms(trial.params)}{run}",
        params={key: str(value) for key, value in trial.params.items()},
        tags=tags,
    )


def final_metrics(trial: TrialResult) -> dict[str, float]:
    """The figures a finished trial is compared by."""
    figures: dict[str, float | None] = {
        "val_score": trial.val_score,
        "latency_ms": trial.latency_ms,
        "train_seconds": trial.train_seconds,
        "epochs_done": float(trial.epochs_done),
    }
    latency = trial.best_latency
    if latency is not None:
        figures["latency_ratio"] = latency.ratio_batch_1.median
    if trial.model is not None:
        figures["params_m"] = trial.model.params_m
        figures["flops_m"] = trial.model.flops_m
    if trial.confirmed is not None:
        figures["test_score"] = trial.confirmed.test_score
        for each in trial.confirmed.figures or ():
            # "PSNR, X to Y" as MLflow takes it: test_psnr_x_to_y.
            figures[f"test_{each.label.lower().replace(',', '').replace(' ', '_')}"] = each.value
    return {key: value for key, value in figures.items() if value is not None}


def teacher_metrics(teacher: TeacherResult) -> dict[str, float | None]:
    """The figures of a teacher that students are compared with."""
    return {
        "val_score": teacher.val_score,
        "test_score": teacher.test_score,
        "latency_ms": teacher.latency.latency_ms,
        "params_m": teacher.params_m,
        "flops_m": teacher.flops_m,
        "train_seconds": teacher.train_seconds,
    }


def study_metrics(
    trials: Sequence[TrialResult], front: Sequence[TrialResult], covered: float | None
) -> dict[str, float | None]:
    """The figures of a whole study; `covered` is its hypervolume."""
    return {
        "front": float(len(front)),
        "trials": float(len(searched(trained_alone(trials)))),
        "hypervolume": covered,
    }


def hypervolume_curve(trials: Iterable[TrialResult], reference: ReferencePoint) -> list[Covered]:
    """What the front covered each time a trial had ended, by the latencies searched by.

    The front is carried along, so a thousand trials cost about as many comparisons as its size.
    Exits come with the trial that trained them, and count as no end of their own. The curve is that
    of the search: further runs and their controls are not in it.
    """
    trials = searched(trials)
    exits: dict[int, list[TrialResult]] = defaultdict(list)
    for trial in trials:
        if trial.trained_with is not None:
            exits[trial.trained_with].append(trial)
    own = trained_alone(trials)
    ended = [(span(trial, 0)[1], trial) for trial in own if trial.status != "running"]
    ended.sort(key=lambda entry: (entry[0], entry[1].number))
    front: list[Point] = []
    covered = 0.0
    curve = []
    for count, (at, trial) in enumerate(ended, start=1):
        for student in (*exits[trial.number], trial):
            point = trial_point(replace(student, confirmed=None, idle_latency=None))
            if point is not None and not any(dominates(other, point) for other in front):
                front = [other for other in front if not dominates(point, other)] + [point]
                covered = hypervolume(front, reference)
        curve.append(Covered(count, covered, at))
    return curve


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else str(value)


def _terms(params: Mapping[str, Any]) -> str:
    named = (("T", "temperature"), ("alpha", "alpha"))
    return "".join(f" {short}={_short(params[name])}" for short, name in named if name in params)
