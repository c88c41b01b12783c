"""Several studies side by side, as numbers: their fronts, hypervolumes, and how they differ.

What is measured in different ways is never mixed silently: where devices, runtimes or clocks are
not the same, latencies are compared as shares of each study's own teacher's, and every such
difference is a sentence. Latencies that differ by less than the A/A tests found between equal
students are tied.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from analysis.findings import find, speed_up
from analysis.formatting import NBSP, joined, milliseconds, significant
from analysis.formatting import value as shown
from analysis.front import hypervolume, non_dominated, places, told_apart
from analysis.record import StudyResults
from analysis.results import ReferencePoint, TrialResult, searched
from analysis.timing_notes import is_noisy, runtime_of, spread_told, timed_on

# Fields of a plan that say where a study lives and not what it does.
_PLACES = frozenset({"name", "storage", "tracking_uri", "address", "data_dir"})
_HASH_DIGITS = 16
# Timings of one network are never told apart below this: a ratio is settled once known so well.
_FINEST = 0.03


class NotComparableError(ValueError):
    """Studies that have no common measure; the message says why."""


class Member(NamedTuple):
    """A front member of one study among the others.

    Args:
        study: the study's label.
        trial: the member.
        val_score: its mean validation score.
        across: its latency in ms, or its share of its study's yardstick's where they were not taken
            alike.
        ratio: the inference-time ratio.
        joint: whether no member of any study, its own included, is better in score and latency,
            as far as the latencies are told apart.
    """

    study: str
    trial: TrialResult
    val_score: float
    across: float
    ratio: float | None
    joint: bool


class Compared(NamedTuple):
    """One study: its label, its members, and its hypervolume under the shared corner.

    Both hypervolumes are those of all that ran to their end, so that ties in latency, which each
    study breaks for itself, do not tell one study from another.
    """

    label: str
    results: StudyResults
    members: tuple[Member, ...]
    hypervolume: float
    own_hypervolume: float | None
    epochs: int


class Difference(NamedTuple):
    """A field that is not the same in all studies, with its value in each."""

    field: str
    values: tuple[str, ...]


class Comparison(NamedTuple):
    """Everything a comparison tells.

    Args:
        studies: in the order given.
        relative: whether latencies are shares of each study's own yardstick's, as they are where
            they were not taken alike, or the one yardstick of all took clearly different times.
        reference: the corners all hypervolumes are measured between; in shares where `relative`.
        warnings: what is not alike in data, devices or ways of measuring, and where noise hides
            differences, a sentence each.
        differences: fields of plan, space, data, teacher and versions that differ.
    """

    studies: tuple[Compared, ...]
    relative: bool
    reference: ReferencePoint
    warnings: tuple[str, ...]
    differences: tuple[Difference, ...]

    @property
    def members(self) -> tuple[Member, ...]:
        """The front members of all studies, fastest first."""
        found = [member for study in self.studies for member in study.members]
        return tuple(sorted(found, key=lambda m: (m.across, -m.val_score, m.study)))


def compare(studies: Sequence[StudyResults]) -> Comparison:
    """Sets studies side by side.

    Raises:
        NotComparableError: fewer than two, of different scores, or one without a reference point.
    """
    if len(studies) < 2:
        raise NotComparableError("name two studies or more")
    scores = {(r.plan.space.score.name, r.plan.space.score.unit) for r in studies}
    if len(scores) > 1:
        told = " and ".join(sorted(f"{name} in {unit or 'no unit'}" for name, unit in scores))
        raise NotComparableError(f"they have different scores, {told}; compare those of one")
    for results in studies:
        if results.reference is None:
            yardstick = results.plan.space.yardstick
            raise NotComparableError(
                f"{results.name} has no reference point yet: its {yardstick} was not timed"
            )
    labels = _labels(studies)
    relative = _are_shares(studies)
    corners = [r.reference for r in studies if r.reference is not None]
    corner = ReferencePoint(
        val_score=min(each.val_score for each in corners),
        latency_ms=1.0 if relative else max(each.latency_ms for each in corners),
        best_score=max(each.best_score for each in corners),
    )
    members = [_places(results, results.front, relative) for results in studies]
    ended = [_places(r, [trial for trial, _ in places(r.trials)], relative) for r in studies]
    compared = tuple(
        Compared(
            label=label,
            results=results,
            members=tuple(
                Member(label, trial, *mine[trial.number], speed_up(results, trial),
                       trial.number in joint)
                for trial in results.front
                if trial.number in mine
            ),
            hypervolume=hypervolume(everyone.values(), corner),
            own_hypervolume=find(results).hypervolume,
            epochs=sum(t.epochs_done for t in searched(results.trials) if t.trained_with is None),
        )
        for label, results, mine, joint, everyone in zip(
            labels, studies, members, _joint_front(studies, members), ended, strict=True
        )
    )  # fmt: skip
    return Comparison(compared, relative, corner, _warnings(labels, studies), _differences(studies))


def _labels(studies: Sequence[StudyResults]) -> list[str]:
    """Names, numbered where two studies share one."""
    names = [results.name for results in studies]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: i + 1].count(name)})"
        for i, name in enumerate(names)
    ]


def _places(
    results: StudyResults, trials: Iterable[TrialResult], relative: bool
) -> dict[int, tuple[float, float]]:
    """(score, latency) of some configurations, the latency as a share where `relative`."""
    found = {}
    for trial in trials:
        score, across = results.val_score(trial), trial.latency_ms
        if relative:
            ratio = speed_up(results, trial)
            across = 1 / ratio if ratio else None
        if score is not None and across is not None:
            found[trial.number] = (score, across)
    return found


class _Placed(NamedTuple):
    """A member in the joint front's making: its study and trial by number, its A/A spread."""

    study: int
    number: int
    score: float
    across: float
    spread: float

    def is_no_slower(self, other: "_Placed") -> bool:
        """Whether it is faster than another, or tied with it up to the larger spread."""
        return self.across <= other.across * (1 + max(self.spread, other.spread))


def _joint_front(
    studies: Sequence[StudyResults], members: Sequence[Mapping[int, tuple[float, float]]]
) -> list[set[int]]:
    """The trials of each study, by number, that are on the joint front.

    Of those that are tied in latency the best score stays, as on the front of one study
    (`told_apart`). Of tied ones with one score all stay: a student that two studies trained alike
    must not be on the joint front in one of them by the luck of its timing.
    """
    placed = [
        _Placed(study, trial.number, *mine[trial.number],
                results.tie_tests.spread_of(trial.best_latency))
        for study, (results, mine) in enumerate(zip(studies, members, strict=True))
        for trial in results.front
        if trial.number in mine
    ]  # fmt: skip
    keep = non_dominated([(one.score, one.across) for one in placed])
    exact = [one for one, kept in zip(placed, keep, strict=True) if kept]
    points = [(one.score, one.across) for one in exact]
    gives_way = told_apart(points, [one.spread for one in exact])
    stay = [one for one, other in zip(exact, gives_way, strict=True) if other is None]
    joint: list[set[int]] = [set() for _ in studies]
    for one in placed:
        level = any(one.score == other.score and one.is_no_slower(other) for other in stay)
        if level and not any(o.score > one.score and o.is_no_slower(one) for o in stay):
            joint[one.study].add(one.number)
    return joint


def _taken(results: StudyResults) -> str:
    """Where, in what and on which clock its latencies were taken: alike, they can be compared."""
    compared = results.compared_with
    return "not timed" if compared is None else timed_on(compared.latency)


def _are_shares(studies: Sequence[StudyResults]) -> bool:
    """Whether milliseconds say nothing across the studies, and shares of their yardsticks do."""
    if len({_taken(results) for results in studies}) > 1:
        return True
    return len({_network(results) for results in studies}) == 1 and bool(_timed_apart(studies))


def _timed_apart(studies: Sequence[StudyResults]) -> list[list[int]]:
    """Studies, by place, that timed one network alike and found clearly different latencies."""
    alike: dict[tuple[Any, str], list[int]] = {}
    for place, results in enumerate(studies):
        if results.compared_with is not None:
            alike.setdefault((_network(results), _taken(results)), []).append(place)
    return [
        group
        for group in alike.values()
        if any(_clearly_apart(studies[a], studies[b]) for a, b in combinations(group, 2))
    ]


def _clearly_apart(one: StudyResults, other: StudyResults) -> bool:
    """Whether the latencies of their yardsticks differ by more than either A/A spread."""
    times = [r.compared_with.latency.latency_ms for r in (one, other) if r.compared_with]
    spreads = [r.tie_tests.widest.spread for r in (one, other) if r.tie_tests.widest]
    return max(times) > min(times) * (1 + max([_FINEST, *spreads]))


def _noise_warnings(labels: Sequence[str], studies: Sequence[StudyResults]) -> list[str]:
    """Where timings are too noisy to compare by, and where those of one network disagree."""
    found = []
    noisy = [
        f"{label}: {spread_told(results.tie_tests)}"
        for label, results in zip(labels, studies, strict=True)
        if is_noisy(results)
    ]
    if noisy:
        found.append(
            "Timings were too noisy to compare students by: differences in latency below the A/A "
            f"spread mean nothing. {', '.join(noisy)}."
        )
    for group in _timed_apart(studies):
        yardstick = studies[group[0]].plan.space.yardstick
        shares = f", so each is told as a share of its own study's {yardstick}'s"
        times = [
            f"{labels[place]}: {milliseconds(one.latency.latency_ms)}"
            for place in group
            if (one := studies[place].compared_with) is not None
        ]
        found.append(
            f"Latencies in ms of {joined([labels[place] for place in group])} compare only by "
            f"ratio{shares if _are_shares(studies) else ''}: on one device they timed their "
            f"{yardstick}, {_named(studies[group[0]])}, further apart than timings of equal "
            f"students lie. {', '.join(times)}."
        )
    return found


def _warnings(labels: Sequence[str], studies: Sequence[StudyResults]) -> tuple[str, ...]:
    """A sentence for whatever is not alike in what the numbers were measured on."""
    found = []

    def told(values: Sequence[str]) -> str:
        return ", ".join(f"{label}: {value}" for label, value in zip(labels, values, strict=True))

    data = [_data(results) for results in studies]
    if len(set(data)) > 1:
        found.append(f"Scores are of different data, and say little of each other. {told(data)}.")
    names = [_named(results) for results in studies]
    networks = {_network(results) for results in studies}
    if len(networks) > 1:
        sized = names if len(set(names)) == len(networks) else [_with_size(r) for r in studies]
        found.append(f"Ratios are to different networks. {told(sized)}.")
    elif len({r.teacher.key for r in studies if r.teacher is not None}) > 1:
        weights = [name if r.teacher is None else f"{name} ({r.teacher.key})"
                   for r, name in zip(studies, names, strict=True)]  # fmt: skip
        found.append(
            "Teachers are of one kind but were trained apart, so gains by distillation are under "
            f"different teachers. {told(weights)}."
        )
    taken = [_taken(results) for results in studies]
    if len(set(taken)) > 1:
        found.append(
            "Latencies were taken on different devices, threads, runtimes or clocks, so each is "
            f"told as a share of its own study's {studies[0].plan.space.yardstick}'s. "
            f"{'; '.join(f'{label}: {way}' for label, way in zip(labels, taken, strict=True))}."
        )
    found += _noise_warnings(labels, studies)
    idle = [_kinds(results) for results in studies]
    if len(set(idle)) > 1 or any(" and " in kind for kind in idle):
        found.append(f"Latencies of the fronts were not all taken in one way. {told(idle)}.")
    thirds = [r.plan.space.compared_by for r in studies]
    if len(set(thirds)) > 1:
        found.append(f"Fronts were chosen by different objectives. {told(thirds)}.")
    return tuple(found)


def _data(results: StudyResults) -> str:
    """The data set, with as much of its hash as tells it from others; a study's report has all."""
    return f"{results.plan.data.name} ({results.plan.data.hash[:_HASH_DIGITS]})"


def _network(results: StudyResults) -> tuple[str, float, float] | None:
    """The network that ratios are to, whatever its weights: its name and its size."""
    one = results.compared_with
    return None if one is None else (one.name, one.params_m, one.flops_m)


def _named(results: StudyResults) -> str:
    """The name of that network."""
    return "not ready" if results.compared_with is None else results.compared_with.name


def _with_size(results: StudyResults) -> str:
    """Its name and size in words."""
    one = results.compared_with
    if one is None:
        return _named(results)
    params, flops = significant(one.params_m, 4), significant(one.flops_m, 4)
    return f"{one.name} of {params}{NBSP}M parameters and {flops}{NBSP}M FLOPs"


def _kinds(results: StudyResults) -> str:
    """How the latencies of a front were taken, in words."""
    kinds = set()
    for trial in results.front:
        latency = trial.best_latency
        if latency is not None:
            moment = "on the idle device" if latency.idle else "while others trained"
            # Device and threads are those of the study; a runtime may be that of a part of it.
            kinds.add(f"{latency.precision}, {runtime_of(latency)}, {moment}")
    return " and ".join(sorted(kinds)) or "none"


def _differences(studies: Sequence[StudyResults]) -> tuple[Difference, ...]:
    fields: dict[str, None] = {}
    described = [_described(results) for results in studies]
    for each in described:
        fields |= dict.fromkeys(each)
    found = []
    for field in fields:
        values = tuple(shown(each.get(field)) for each in described)
        if len(set(values)) > 1:
            found.append(Difference(field, values))
    return tuple(found)


def _described(results: StudyResults) -> dict[str, Any]:
    """What was asked for and what it ran on, field by field."""
    plan = results.plan
    asked: Mapping[str, Any] = {k: v for k, v in plan.plan.items() if k not in _PLACES}
    described = {f"plan: {name.replace('_', ' ')}": value for name, value in asked.items()}
    described["space"] = f"{plan.space.name} ({plan.space.hash})"
    described["data"] = _data(results)
    described["images of a student"] = f"{plan.data.student_train:,}"
    described["teacher"] = results.teacher and f"{results.teacher.name} ({results.teacher.key})"
    return described | {f"version: {k}": v for k, v in results.environment.items()}
