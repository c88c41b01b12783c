"""The accuracy-latency front: who is on it, how much it is worth, what distillation added.

A point is (accuracy in percent, latency in ms): more accuracy and less latency are better. One
point dominates another when it is at least as good in both and better in one. Points that are
equal in both dominate neither each other, so all of them stay on the front.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.results import ReferencePoint, TrialResult
from analysis.stored_plan import Space

Point = tuple[float, float]

# What teaches a student, where a space does not say how its control differs.
_CONTROL: Mapping[str, Any] = {"terms": "ce"}
_METHOD_PARAMETERS = frozenset({"terms", "temperature", "alpha"})


@dataclass(frozen=True)
class KdPair:
    """A distilled trial and its control: the same student, recipe, data and epochs.

    Gains are distilled minus control, in points of accuracy; `test_gain` is None until both are
    confirmed.
    """

    distilled: TrialResult
    control: TrialResult
    val_gain: float
    test_gain: float | None


def dominates(one: Point, other: Point) -> bool:
    """Whether `one` is at least as good as `other` in both objectives and better in one."""
    return one[0] >= other[0] and one[1] <= other[1] and one != other


def non_dominated(points: Sequence[Point]) -> list[bool]:
    """For every point, whether no other one dominates it; n log n.

    A point that is not finite is never on the front and dominates nothing.
    """
    keep = [False] * len(points)
    finite = [
        (latency, -accuracy, i)
        for i, (accuracy, latency) in enumerate(points)
        if math.isfinite(accuracy) and math.isfinite(latency)
    ]
    finite.sort()
    best: Point | None = None
    for _, _, i in finite:
        if best is None or points[i][0] > best[0] or points[i] == best:
            keep[i] = True
            best = points[i]
    return keep


def trial_point(trial: TrialResult) -> Point | None:
    """(validation accuracy %, latency ms) of a trial that ran to its end, else None."""
    if trial.status != "complete":
        return None
    accuracy, latency = trial.val_score, trial.latency_ms
    if accuracy is None or latency is None:
        return None
    return (accuracy, latency)


def front_members(trials: Iterable[TrialResult]) -> tuple[TrialResult, ...]:
    """The non-dominated trials among those that ran to their end, fastest first.

    Chosen by validation accuracy and latency (the confirmed one where there is one); test
    accuracy plays no part.
    """
    placed = [(trial, point) for trial in trials if (point := trial_point(trial)) is not None]
    keep = non_dominated([point for _, point in placed])
    members = [entry for entry, kept in zip(placed, keep, strict=True) if kept]
    members.sort(key=lambda entry: (entry[1][1], -entry[1][0], entry[0].number))
    return tuple(trial for trial, _ in members)


def hypervolume(points: Iterable[Point], reference: ReferencePoint) -> float:
    """Area dominated by `points` inside the reference corner, as a share of the largest possible.

    The corner is (chance accuracy, teacher latency); the largest area is (100 - chance) times the
    teacher's latency. Points outside the corner add nothing. 0 where the corner leaves no area.
    """
    chance, slowest = reference.val_score, reference.latency_ms
    whole = (100.0 - chance) * slowest
    if not whole > 0.0:
        return 0.0
    inside = sorted(
        (max(latency, 0.0), min(accuracy, 100.0))
        for accuracy, latency in points
        if accuracy > chance and latency < slowest
    )
    area, reached = 0.0, chance
    for latency, accuracy in inside:
        if accuracy > reached:
            area += (accuracy - reached) * (slowest - latency)
            reached = accuracy
    return area / whole


def front_hypervolume(trials: Iterable[TrialResult], reference: ReferencePoint) -> float:
    """The hypervolume (0 to 1) that the trials which ran to their end cover together."""
    points = (trial_point(trial) for trial in trials)
    return hypervolume((point for point in points if point is not None), reference)


def method_parameters(space: Space) -> frozenset[str]:
    """Names of the parameters that say how a student is taught.

    These are the ones the space's control overrides, and those that apply only under them.
    """
    if not space.control:
        return _METHOD_PARAMETERS
    names = set(space.control)
    for parameter in space.parameters:
        if parameter.when is not None and parameter.when.parameter in names:
            names.add(parameter.name)
    return frozenset(names)


def is_distilled(trial: TrialResult, space: Space) -> bool:
    """Whether a teacher had a part in a trial: neither a control by origin nor by parameters."""
    control = space.control or _CONTROL
    if trial.source == "control" or trial.params.get("alpha") == 0:
        return False
    return any(trial.params.get(name) != value for name, value in control.items())


def kd_pairs(trials: Iterable[TrialResult], space: Space) -> tuple[KdPair, ...]:
    """Every distilled trial that has a control, largest validation gain first.

    Both ran to their end. A control matches when it has the same architecture, the same planned
    epochs and the same value of every parameter that neither shapes the student nor says how it
    is taught (learning rate, schedule, batch size, share of the training set, ...; numbers are
    compared to four digits). Of several controls, one that was run as a control comes first, then
    the oldest.
    """
    complete = [trial for trial in trials if trial_point(trial) is not None]
    controls: dict[tuple[Any, ...], TrialResult] = {}
    distilled = []
    for trial in sorted(complete, key=lambda t: (t.source != "control", t.number)):
        if is_distilled(trial, space):
            distilled.append(trial)
        else:
            controls.setdefault(_recipe(trial, space), trial)
    pairs = [
        _pair(trial, controls[key])
        for trial in distilled
        if (key := _recipe(trial, space)) in controls
    ]
    return tuple(sorted(pairs, key=lambda pair: (-pair.val_gain, pair.distilled.number)))


def _recipe(trial: TrialResult, space: Space) -> tuple[Any, ...]:
    """What a distilled trial and its control have in common."""
    apart = method_parameters(space) | {p.name for p in space.parameters if p.architecture}
    rest = tuple(
        (name, float(f"{value:.4g}") if isinstance(value, float) else value)
        for name, value in sorted(trial.params.items())
        if name not in apart
    )
    return (trial.architecture, trial.epochs, rest)


def _pair(distilled: TrialResult, control: TrialResult) -> KdPair:
    assert distilled.val_score is not None
    assert control.val_score is not None
    test_gain = None
    if distilled.confirmed is not None and control.confirmed is not None:
        test_gain = distilled.confirmed.test_score - control.confirmed.test_score
    return KdPair(distilled, control, distilled.val_score - control.val_score, test_gain)
