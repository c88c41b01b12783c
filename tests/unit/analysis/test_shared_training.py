"""Students of one training are one witness: the exits of a network, and twins of one control."""

import copy
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from scipy import stats

from analysis.findings import find, independent, overall_gain
from analysis.front import kd_pairs
from analysis.importance import FEWEST_STUDENTS, importances
from analysis.record import StudyResults
from analysis.replication import pooled_spread
from analysis.report import render
from analysis.results import ModelSize, Outcome, TrialResult
from analysis.runs import Spread
from analysis.stored_plan import Objective, Score, Space
from analysis.wording import headlines, sentences

EXITS = (1, 2, 3, 4, "ensemble")
SPACE = Space(
    name="sample",
    title="",
    description="",
    hash="",
    parameters=(),
    score=Score("accuracy", "%", 100.0),
    objectives=(
        Objective("val_score", "validation accuracy", "%", "maximize"),
        Objective("latency_ms", "latency", "ms", "minimize"),
    ),
    taught=True,
    control={"terms": "ce"},
)


def left_at(
    leave_at: Any,
    number: int,
    score: float,
    *,
    width: int,
    terms: str = "kd",
    of: int | None = None,
    run: tuple[int, int] | None = None,
) -> TrialResult:
    """A complete student at an exit of the network that trial `of` trained, or that it did."""
    return TrialResult(
        number=number,
        source="sampler" if run is None else "replicate",
        label=None,
        params={"width": width, "terms": terms, "exit": leave_at},
        architecture=f"student {width}, exit {leave_at}",
        epochs=12,
        model=ModelSize(1.0, 1.0, 4),
        outcome=Outcome("complete", None, 12, score, 1.0, 7.0, "now"),
        trained_with=of,
        replicate_of=None if run is None else run[0],
        run=0 if run is None else run[1],
    )


def network(number: int, scores: Sequence[float], **options: Any) -> list[TrialResult]:
    """The students of one training, one at each exit; numbers begin at its own."""
    return [
        left_at(leave_at, number + i, score, of=number if i else None, **options)
        for i, (leave_at, score) in enumerate(zip(EXITS, scores, strict=False))
    ]


def again(trials: Iterable[TrialResult], number: int, run: int, by: float) -> list[TrialResult]:
    """The same students of another run, better by so much."""
    made = []
    for i, trial in enumerate(trials):
        assert trial.outcome is not None
        outcome = replace(trial.outcome, val_score=(trial.val_score or 0.0) + by)
        repeated = replace(trial, number=number + i, outcome=outcome, replicate_of=trial.number)
        made.append(
            replace(repeated, source="replicate", run=run, trained_with=number if i else None)
        )
    return made


def networks_and_controls(luck: Sequence[float]) -> list[TrialResult]:
    """Networks of five exits, as lucky as is said, each with its control of no luck."""
    trials = []
    for i, lucky in enumerate(luck):
        taught = [70.0 + lucky + leave_at for leave_at in range(5)]
        trials += network(100 * i, taught, width=i)
        trials += network(100 * i + 50, [68.0 + n for n in range(5)], width=i, terms="ce")
    return trials


# Gains


def test_the_gain_of_networks_is_told_by_networks_and_not_by_exits() -> None:
    luck = [0.4, -0.7, 1.1, 0.2]
    pairs = kd_pairs(networks_and_controls(luck), SPACE)
    assert len(pairs) == 20
    assert [len(group) for group in independent(pairs)] == [5, 5, 5, 5]
    gain = overall_gain(pairs)
    assert (gain.mean, gain.runs) == (pytest.approx(2 + sum(luck) / 4), 4)
    expected = stats.t.interval(0.95, 3, loc=gain.mean, scale=stats.sem(luck))
    assert gain.interval == pytest.approx(expected)


def test_an_interval_over_networks_covers_as_often_as_it_says() -> None:
    draw = random.Random(6)
    covered = 0
    for _ in range(200):
        pairs = kd_pairs(networks_and_controls([draw.gauss(0, 1) for _ in range(4)]), SPACE)
        interval = overall_gain(pairs).interval
        assert interval is not None
        covered += interval[0] <= 2.0 <= interval[1]
    assert covered == pytest.approx(190, abs=10)


def test_pairs_of_one_network_are_told_by_the_runs_they_share() -> None:
    taught, alone = (
        network(0, [71.0, 73.0], width=1),
        network(10, [70.0, 70.0], width=1, terms="ce"),
    )
    once = kd_pairs([*taught, *alone], SPACE)
    assert overall_gain(once).interval is None
    trials = [*taught, *alone]
    for run, by in ((1, 0.6), (2, 0.3)):
        trials += again(taught, 100 * run, run, by) + again(alone, 100 * run + 10, run, 0.0)
    gain = overall_gain(kd_pairs(trials, SPACE))
    assert (gain.mean, gain.runs) == (pytest.approx(2.3), 3)
    expected = stats.t.interval(0.95, 2, loc=2.3, scale=stats.sem([2.0, 2.6, 2.3]))
    assert gain.interval == pytest.approx(expected)


def test_twins_of_one_control_are_one_witness(sample: Any, study: Any) -> None:
    trials = []
    for number, blocks in enumerate([(1, 0, 0, 0), (1, 1, 0, 0), (1, 1, 1, 0)]):
        trials.append(sample.trial(sample.params(blocks, terms="ce"), accuracy=70.0, ratio=4.0))
        for temperature in (2.0, 4.0):
            values = sample.params(blocks, temperature=temperature)
            trials.append(sample.trial(values, accuracy=71.0 + number, ratio=4.0))
    results = study(trials)
    assert sorted(len(group) for group in independent(results.pairs)) == [2, 2, 2]
    expected = stats.t.interval(0.95, 2, loc=2.0, scale=stats.sem([1.0, 2.0, 3.0]))
    assert overall_gain(results.pairs).interval == pytest.approx(expected)
    text = " ".join(sentences(results, find(results)))
    assert "comparing 6 students in 3 groups that share no control with" in text
    page = render(results)
    assert "students beside one control, share the luck of a training" in page


def test_single_students_are_each_a_witness_of_their_own(realistic: StudyResults) -> None:
    assert [len(group) for group in independent(realistic.pairs)] == [1] * len(realistic.pairs)
    assert "share the luck of a training" not in render(realistic)
    gains = [pair.val_gain for pair in realistic.pairs]
    expected = stats.t.interval(0.95, len(gains) - 1, sum(gains) / len(gains), stats.sem(gains))
    assert overall_gain(realistic.pairs).interval == pytest.approx(expected)


def test_groups_hang_together_by_any_network_in_common() -> None:
    pairs = kd_pairs(networks_and_controls([0.0, 0.0, 0.0]), SPACE)
    first, second, third = sorted(pairs, key=lambda pair: pair.distilled.number)[::5]
    bridge = replace(first, distilled=second.distilled)
    assert len(independent([first, second, third])) == 3
    assert sorted(len(g) for g in independent([first, second, third, bridge])) == [1, 3]


@pytest.mark.parametrize(
    ("luck", "bound", "who"),
    [
        ([0.0], "no interval from one network", "over 5 students of one network, each beside"),
        (
            [0.0, 1.0],
            "no interval from two networks",
            "over 10 students of 2 networks, each beside",
        ),
        (
            [1.0, 1.0, 1.0],
            "the same in all 3 networks",
            "over 15 students of 3 networks, each beside",
        ),
    ],
)
def test_the_first_screen_says_over_how_many_networks(
    realistic: StudyResults, luck: list[float], bound: str, who: str
) -> None:
    trials = tuple(networks_and_controls(luck))
    results = StudyResults(realistic.plan, teacher=realistic.teacher, trials=trials)
    found = find(results)._replace(pairs=kd_pairs(trials, SPACE))
    gain = headlines(results, found)[-1]
    assert gain.bound == bound
    assert who in gain.sentence


@pytest.mark.parametrize(
    ("runs", "bound"), [(1, "no interval from one run"), (2, "the same in both runs"),
                        (3, "the same in all 3 runs")],
)  # fmt: skip
def test_runs_of_one_student_that_gained_the_same_are_called_runs(
    realistic: StudyResults, runs: int, bound: str
) -> None:
    taught, alone = network(0, [72.0], width=1), network(1, [70.0], width=1, terms="ce")
    trials = [*taught, *alone]
    for run in range(1, runs):
        trials += again(taught, 100 * run, run, 1.0) + again(alone, 100 * run + 1, run, 1.0)
    results = StudyResults(realistic.plan, teacher=realistic.teacher, trials=tuple(trials))
    found = find(results)._replace(pairs=kd_pairs(trials, SPACE))
    gain = headlines(results, found)[-1]
    assert (gain.figure.replace("\u00a0", " "), gain.bound) == ("+2.0 points", bound)


# The deviation from run to run


def test_exits_add_the_freedom_of_their_network_once() -> None:
    trials = []
    for number, by in ((0, 2.0), (100, 1.0)):
        students = network(number, [60.0, 61.0, 62.0, 63.0, 64.0], width=number)
        trials += students + again(students, number + 10, 1, by)
    # Of two runs the variance is half of the square of their distance.
    assert pooled_spread(trials) == Spread(pytest.approx(((2.0 + 0.5) / 2) ** 0.5), 2)


def test_exits_of_fewer_runs_weigh_less_in_their_network() -> None:
    students = network(0, [60.0, 70.0], width=0)
    trials = [*students, *again(students, 10, 1, 2.0), *again(students[:1], 20, 2, 4.0)]
    # Of 60, 62, 64 the variance is 4, with two degrees of freedom; of 70, 72 it is 2, with one.
    assert pooled_spread(trials) == Spread(pytest.approx(((4.0 * 2 + 2.0) / 3) ** 0.5), 2)


# Importances


@pytest.fixture
def searched(sample: Any, study: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a study of so many networks whose score is luck but for the exit, and reads it."""
    plan = copy.deepcopy(sample.plan(published=False))
    plan["space"]["parameters"].append(
        {"name": "exit", "kind": "choice", "choices": list(EXITS), "architecture": True,
         "help": "", "when": None}
    )  # fmt: skip
    choice = sample.CategoricalDistribution(EXITS)
    monkeypatch.setitem(sample.DISTRIBUTIONS, "exit", choice)

    def write(count: int) -> StudyResults:
        draw = random.Random(1)
        trials = []
        for i in range(count):
            luck, rate = draw.gauss(0, 3.0), round(10 ** draw.uniform(-2.3, -0.7), 5)
            schedule, batch = draw.choice(("onecycle", "cosine")), draw.choice((64, 128))
            for place, leave_at in enumerate(EXITS):
                values = sample.params(learning_rate=rate, schedule=schedule, batch_size=batch)
                score = 70 + luck + place + draw.gauss(0, 0.1)
                item = sample.trial(values, accuracy=score, ratio=9.0 - place)
                item["params"] = {**item["params"], "exit": leave_at}
                if place:
                    item["attributes"] |= {"source": "exit", "trained_with": 5 * i}
                trials.append(item)
        return study(trials, plan_content=plan)  # type: ignore[no-any-return]

    return write


def test_what_is_luck_of_networks_is_no_importance(searched: Any) -> None:
    results = searched(30)
    found = importances(results)
    assert found is not None
    assert (found.students, found.networks) == (150, 30)
    accuracy = found.objectives[0]
    for name in ("learning_rate", "schedule", "batch_size"):
        assert accuracy.shares[name] <= accuracy.chance[name]
    assert accuracy.shares["exit"] > accuracy.chance["exit"]
    page = render(results)
    assert "150\u00a0students of 30 networks, by conditional PED-ANOVA" in page
    assert "in ten shuffles of the objective that keep the exits of a network together" in page


def test_the_exits_of_few_networks_are_too_few_to_tell_importances(searched: Any) -> None:
    results = searched(FEWEST_STUDENTS - 1)
    assert importances(results) is None
    assert "of which exits of one network count as one" in render(results)
