"""Replicates: means, chances and intervals agree with closed forms; no run is asked for twice."""

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from scipy import stats

from analysis.front import dominates, front_hypervolume, front_members, kd_pairs
from analysis.latency import TieTest, TieTests
from analysis.replication import (
    RIVAL_PROBABILITY,
    front_probabilities,
    missing_controls,
    pooled_spread,
    rivals,
    wanted_runs,
)
from analysis.results import (
    Confirmation,
    Latency,
    ModelSize,
    Outcome,
    Ratio,
    ReferencePoint,
    Timing,
    TrialResult,
)
from analysis.runs import Estimate, Spread, estimates, estimates_of_test, runs_of
from analysis.stored_plan import Objective, Score, Space

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
TEACHER_MS = 20.0


def timed(latency_ms: float, *, low: float = 1.0, high: float = 1.0) -> Latency:
    """An idle latency; `low` and `high` bound its ratio, as shares of it."""
    ratio = TEACHER_MS / latency_ms
    one, whole = Timing(latency_ms, latency_ms), Ratio(ratio, ratio * low, ratio * high)
    teacher = Timing(TEACHER_MS, TEACHER_MS)
    return Latency("cpu", 1, "float32", True, 41, one, one, teacher, teacher, whole, whole)


def trained(
    number: int,
    score: float,
    latency_ms: float = 1.0,
    *,
    terms: str = "kd",
    width: int = 0,
    test: float | None = None,
    status: Any = "complete",
    params_m: float = 1.0,
    **options: Any,
) -> TrialResult:
    """A trial of a student of some width, complete unless something else is said."""
    timing = options.pop("timing", timed(latency_ms))
    return TrialResult(
        number=number,
        source=options.pop("source", "sampler"),
        label=None,
        params={"width": width or number, "terms": terms} | options.pop("params", {}),
        architecture=options.pop("architecture", f"student {width or number}"),
        epochs=12,
        model=ModelSize(params_m, 1.0, 4),
        outcome=Outcome(status, None, 12, score, latency_ms, 7.0, "now"),
        confirmed=None if test is None else Confirmation(test, timing),
        **options,
    )


def again(
    first: TrialResult,
    number: int,
    run: int,
    score: float,
    test: float | None = None,
    **changes: Any,
) -> TrialResult:
    """A replicate of a trial."""
    assert first.outcome is not None
    outcome = replace(first.outcome, val_score=score, status=changes.pop("status", "complete"))
    return replace(
        first,
        number=number,
        source="replicate",
        outcome=outcome,
        confirmed=None if test is None else Confirmation(test, timed(1.0)),
        replicate_of=first.number,
        run=run,
        **changes,
    )


def runs(
    number: int, scores: Sequence[float], latency_ms: float = 1.0, **options: Any
) -> list[TrialResult]:
    """A trial and its replicates, whose numbers begin at a hundred times its own."""
    first = trained(number, scores[0], latency_ms, **options)
    further = [again(first, 100 * number + r, r, s) for r, s in enumerate(scores[1:], start=1)]
    return [first, *further]


def between(mean: float, apart: float) -> tuple[float, float, float]:
    """Three scores of a mean, with a standard deviation of `apart`."""
    return (mean - apart, mean, mean + apart)


# Estimates


def test_an_estimate_agrees_with_scipy() -> None:
    values = [80.1, 81.3, 79.6, 80.8]
    estimate = Estimate.of(values)
    assert estimate.mean == pytest.approx(sum(values) / 4)
    assert estimate.error == pytest.approx(stats.sem(values))
    assert estimate.interval == pytest.approx(
        stats.t.interval(0.95, 3, loc=estimate.mean, scale=stats.sem(values))
    )


def test_one_run_has_no_error() -> None:
    assert Estimate.of([80.1]) == Estimate(80.1, None, 1)
    assert Estimate.of([80.1]).interval is None


def test_runs_that_are_all_alike_tell_no_interval() -> None:
    thirds = [80.0 + 100 / 216 - 100 / 216, 80.0, 80.0]
    assert Estimate.of(thirds).interval is None
    assert Estimate.of(thirds).error == pytest.approx(0.0, abs=1e-9)


def test_runs_belong_to_their_configuration_and_only_complete_ones_count() -> None:
    first, other = trained(0, 80.0, test=79.0), trained(1, 70.0)
    trials = [
        again(first, 5, 2, 84.0, test=83.0),
        first,
        again(first, 4, 1, 82.0, test=81.0),
        again(first, 6, 3, 99.0, status="failed"),
        replace(again(other, 7, 1, 99.0), outcome=None),
        other,
    ]
    assert {n: [t.number for t in r] for n, r in runs_of(trials).items()} == {0: [0, 4, 5], 1: [1]}
    assert estimates(trials)[0] == Estimate(82.0, pytest.approx(2 / math.sqrt(3)), 3)
    assert estimates(trials)[1] == Estimate(70.0, None, 1)
    assert estimates_of_test(trials) == {0: Estimate(81.0, pytest.approx(2 / math.sqrt(3)), 3)}


def test_what_did_not_run_to_its_end_has_no_estimate() -> None:
    assert estimates([trained(0, 80.0, status="stopped")]) == {}


# The front by means


def test_the_front_is_that_of_means_and_no_run_is_a_point() -> None:
    lucky = runs(1, [90.0, 80.0, 79.0])  # 83 on average
    steady = trained(2, 84.0)
    trials = [*lucky, steady]
    assert [trial.number for trial in front_members(trials)] == [2]
    assert [trial.number for trial in front_members([lucky[0], steady])] == [1]
    assert [trial.number for trial in front_members(lucky)] == [1]


def test_the_hypervolume_is_that_of_means() -> None:
    corner = ReferencePoint(0.0, 2.0, 100.0)
    assert front_hypervolume(runs(1, [60.0, 50.0, 40.0]), corner) == pytest.approx(0.25)


# Front probabilities


def test_nothing_is_probable_while_nothing_has_two_runs() -> None:
    assert front_probabilities([]) == {}
    assert front_probabilities([trained(0, 80.0), trained(1, 70.0, 2.0)]) == {}
    failed = again(trained(0, 80.0), 2, 1, 0.0, status="failed")
    assert front_probabilities([trained(0, 80.0), failed]) == {}


def test_the_deviation_is_pooled_over_configurations() -> None:
    trials = [*runs(1, [80.0, 82.0]), *runs(2, between(70.0, 1.0)), trained(3, 60.0)]
    assert pooled_spread(trials) == Spread(pytest.approx(math.sqrt((2.0 + 2.0) / 3)), 3)


def test_the_deviation_of_a_share_is_that_of_drawing_answers() -> None:
    share = Score("accuracy", "%", 100.0)
    draw = random.Random(4)

    def drawn(number: int, right: float) -> list[TrialResult]:
        answers = [sum(draw.random() < right for _ in range(400)) / 4 for _ in range(60)]
        return runs(number, answers, 1.0 + number)

    trials = [trial for n, right in enumerate((0.98, 0.8, 0.25)) for trial in drawn(n + 1, right)]
    spread = pooled_spread(trials, share)
    assert spread is not None
    assert (spread.freedom, spread.best) == (3 * 59, 100.0)
    for right in (0.98, 0.8, 0.25):
        expected = 100 * math.sqrt(right * (1 - right) / 400)
        assert spread.deviation(100 * right) == pytest.approx(expected, rel=0.1)
    assert spread.deviation(100.0) > 0
    level = pooled_spread(trials, Score("PSNR", "dB", 50.0))
    assert level is not None
    assert level == pooled_spread(trials)
    assert level.deviation(98.0) == level.deviation(25.0)


def test_a_share_near_its_best_is_surer_of_its_place() -> None:
    trials = [*runs(1, between(50.0, 2.0), 0.5), trained(2, 99.0), trained(3, 97.0)]
    found = front_probabilities(trials, None, Score("accuracy", "%", 100.0))
    assert found[2] > front_probabilities(trials)[2] + 0.05


def test_well_separated_points_are_certain() -> None:
    trials = [*runs(1, between(90.0, 0.1)), *runs(2, between(80.0, 0.1)), trained(3, 70.0, 0.5)]
    assert front_probabilities(trials) == {1: 1.0, 2: pytest.approx(0.0, abs=2e-3), 3: 1.0}


def test_two_equal_points_have_even_chances() -> None:
    trials = [*runs(1, between(80.0, 0.5)), *runs(2, between(80.0, 0.5))]
    found = front_probabilities(trials)
    assert found[1] == pytest.approx(0.5, abs=0.04)
    assert found[1] + found[2] == 1.0


@pytest.mark.parametrize(("apart", "deviation"), [(0.3, 0.5), (1.0, 0.5), (2.0, 0.9)])
def test_the_chance_of_one_of_two_is_that_of_a_t_test(apart: float, deviation: float) -> None:
    trials = [*runs(1, between(80.0 + apart, deviation)), *runs(2, [80.0, 80.0])]
    spread = pooled_spread(trials)
    assert spread is not None
    statistic = apart / (spread.scale * math.sqrt(1 / 3 + 1 / 2))
    assert front_probabilities(trials)[1] == pytest.approx(
        stats.t.cdf(statistic, spread.freedom), abs=0.04
    )


def test_a_single_run_is_less_certain_than_three() -> None:
    rest = [*runs(1, between(81.0, 0.5)), *runs(3, between(60.0, 0.5))]
    once = front_probabilities([*rest, trained(2, 80.0)])[2]
    thrice = front_probabilities([*rest, *runs(2, between(80.0, 0.5))])[2]
    spread = pooled_spread(rest)
    assert spread is not None
    expected = stats.t.sf(1.0 / (spread.scale * math.sqrt(1 + 1 / 3)), spread.freedom)
    assert once == pytest.approx(expected, abs=0.04)
    assert once > thrice


def test_the_faster_of_two_is_always_on_the_front() -> None:
    trials = [*runs(1, between(80.0, 2.0), 1.0), *runs(2, between(79.0, 2.0), 0.9)]
    assert front_probabilities(trials)[2] == 1.0


def test_runs_that_are_all_alike_tell_no_spread_and_no_probability() -> None:
    trials = [*runs(1, [80.0, 80.0]), *runs(2, [80.0, 80.0]), trained(3, 79.0)]
    assert pooled_spread(trials) is None
    assert front_probabilities(trials) == {}
    assert front_probabilities([*trials, *runs(4, [70.0, 70.1])])[3] < 0.01


def test_a_third_objective_keeps_small_students_on_the_front() -> None:
    trials = [*runs(1, between(90.0, 0.1), params_m=2.0), trained(2, 70.0, params_m=1.0)]
    assert front_probabilities(trials, "params_m") == {1: 1.0, 2: 1.0}
    assert front_probabilities(trials)[2] == pytest.approx(0.0, abs=2e-3)


def test_latencies_move_within_their_confirmed_intervals() -> None:
    sure = runs(1, between(90.0, 0.1))
    wide = timed(1.05, low=0.9, high=1.1)
    unsure = trained(2, 80.0, 1.05, test=80.0, timing=wide)
    found = front_probabilities([*sure, unsure])[2]
    deviation = math.log(1.1 / 0.9) / (2 * 1.96)
    assert found == pytest.approx(stats.norm.cdf(-math.log(1.05) / deviation), abs=0.04)


def alike(spread: float) -> TieTests:
    """Tests that found equal students up to so far apart."""
    return TieTests((TieTest("[1,1,1,1]", (1.0, 1.0), spread),))


def test_latencies_move_from_one_measurement_to_the_next_as_the_a_a_test_has_it() -> None:
    narrow = timed(0.8, low=0.999, high=1.001)
    sure, unsure = runs(1, between(90.0, 0.1)), trained(2, 80.0, 0.8, test=80.0, timing=narrow)
    assert front_probabilities([*sure, unsure])[2] == 1.0
    found = front_probabilities([*sure, unsure], tests=alike(0.2))[2]
    deviation = math.log(1.2) / (1.96 * math.sqrt(2))
    # It gives way to the better one unless it is faster by more than the spread.
    assert found == pytest.approx(stats.norm.cdf(-math.log(0.8 * 1.2) / deviation), abs=0.04)


def test_a_latency_moves_as_the_test_of_its_own_pace_has_it() -> None:
    narrow = replace(timed(0.8, low=0.999, high=1.001), paced_by="metronome")
    unsure = trained(2, 80.0, 0.8, test=80.0, timing=narrow)
    small = TieTest("[1,0,0,0]", (1.0, 1.0), 0.01, "metronome")
    large = TieTest("[1,1,1,1]", (1.0, 1.0), 0.2, "teacher")
    deviation = math.log(1.01) / (1.96 * math.sqrt(2))
    for latency in (0.8, 0.808):
        # Beside a better one as small; tied, it gives way unless it is faster by a hundredth.
        by_metronome = replace(timed(latency), idle=False, paced_by="metronome")
        sure = runs(1, between(90.0, 0.1), latency, latency=by_metronome)
        found = front_probabilities([*sure, unsure], tests=TieTests((small, large)))[2]
        above = math.log(0.8 * 1.01 / latency)
        assert found == pytest.approx(stats.norm.cdf(-above / deviation), abs=0.04)


def test_students_of_one_architecture_are_as_fast_in_every_draw() -> None:
    wide = timed(1.0, low=0.8, high=1.2)
    alike = {"test": 80.0, "timing": wide, "architecture": "the same"}
    better, worse = runs(1, between(90.0, 0.01), **alike), trained(2, 80.0, **alike)
    assert front_probabilities([*better, worse])[2] == 0.0


def test_the_order_of_trials_does_not_matter() -> None:
    draw = random.Random(5)
    trials = [trial for n in range(1, 12) for trial in runs(n, between(80 + n / 9, 0.4), 1 + n / 7)]
    expected = front_probabilities(trials)
    for _ in range(3):
        draw.shuffle(trials)
        assert front_probabilities(trials) == expected


@pytest.mark.parametrize("third", [None, "params_m"])
def test_probabilities_agree_with_comparing_every_pair_in_every_draw(third: Any) -> None:
    from analysis import replication

    draw = random.Random(8)
    trials = [
        trial
        for n in range(1, 60)
        for trial in runs(
            n,
            between(draw.gauss(80, 0.8), 0.5) if n % 3 else [draw.gauss(80, 0.8)],
            draw.uniform(1, 1.3),
            params_m=float(draw.randint(1, 3)),
        )
    ]
    firsts = [trial for trial in trials if trial.replicate_of is None]
    means = {number: estimate for number, estimate in estimates(trials).items()}
    drawn = replication._drawn_scores(
        [(t.number, means[t.number].mean, means[t.number].runs) for t in firsts],
        pooled_spread(trials) or Spread(0.0, 0),
    )
    found = front_probabilities(trials, third)
    counts = dict.fromkeys(found, 0)
    for column in drawn.T[:300]:
        points = [
            (score, trial.latency_ms or 0.0, trial.model.params_m if third and trial.model else 0.0)
            for score, trial in zip(column, firsts, strict=True)
        ]
        for trial, point in zip(firsts, points, strict=True):
            counts[trial.number] += not any(dominates(other, point) for other in points)
    for number, count in counts.items():
        assert found[number] == pytest.approx(count / 300, abs=0.12)
    assert sum(found.values()) == pytest.approx(sum(counts.values()) / 300, rel=0.05)


def test_who_gives_way_for_a_tie_in_every_draw_is_never_on_the_front() -> None:
    gives_way, stays = runs(1, between(80.0, 0.1), 1.00), runs(2, between(85.0, 0.1), 1.02)
    trials = [*gives_way, *stays, trained(3, 60.0, 0.5)]
    assert front_probabilities(trials) == {1: 1.0, 2: 1.0, 3: 1.0}
    assert front_probabilities(trials, tests=alike(0.03)) == {1: 0.0, 2: 1.0, 3: 1.0}
    assert front_probabilities(trials, tests=alike(0.01)) == {1: 1.0, 2: 1.0, 3: 1.0}


def test_of_two_tied_students_of_one_mean_either_may_be_on_the_front() -> None:
    trials = [*runs(1, between(80.0, 0.5), 1.00), *runs(2, between(80.0, 0.5), 1.02)]
    found = front_probabilities(trials, tests=alike(0.03))
    assert found[1] == pytest.approx(0.5, abs=0.04)
    assert found[1] + found[2] == pytest.approx(1.0)


@pytest.mark.parametrize("third", [None, "params_m"])
def test_ties_are_taken_in_every_draw_as_the_front_takes_them(third: Any) -> None:
    from analysis import replication

    draw = random.Random(4)
    trials = [
        trial
        for n in range(1, 25)
        for trial in runs(
            n,
            between(draw.gauss(80, 0.8), 0.5),
            draw.uniform(1, 1.3),
            params_m=float(draw.randint(1, 3)),
        )
    ]
    firsts = [trial for trial in trials if trial.replicate_of is None]
    drawn = replication._drawn_scores(
        [(n, e.mean, e.runs) for n, e in estimates(trials).items()],
        pooled_spread(trials) or Spread(0.0, 0),
    )
    counts = dict.fromkeys((trial.number for trial in firsts), 0)
    for column in drawn.T:
        alone = [
            replace(trial, outcome=replace(trial.outcome, val_score=float(score)))
            for trial, score in zip(firsts, column, strict=True)
            if trial.outcome is not None
        ]
        for member in front_members(alone, third, alike(0.03)):
            counts[member.number] += 1
    found = front_probabilities(trials, third, tests=alike(0.03))
    assert found == {number: count / 2000 for number, count in counts.items()}


# Gains


def test_a_gain_and_its_interval_are_those_of_a_paired_t_test() -> None:
    taught = [82.0, 83.5, 82.4]
    alone = [80.5, 81.0, 81.3]
    distilled = runs(1, taught, width=9)
    control = runs(2, alone, width=9, terms="ce", source="control")
    (pair,) = kd_pairs([*distilled, *control], SPACE)
    assert (pair.distilled.number, pair.control.number) == (1, 2)
    paired = stats.ttest_rel(taught, alone)
    assert pair.validation.runs == 3
    assert pair.validation.interval == pytest.approx(tuple(paired.confidence_interval(0.95)))
    assert pair.test is None


def test_runs_are_compared_seed_by_seed() -> None:
    first = trained(1, 82.0, width=9, test=81.0)
    control = trained(2, 80.0, width=9, terms="ce", source="control", test=79.5)
    trials = [
        first,
        again(first, 3, 1, 99.0),  # the control has no such run
        again(first, 4, 2, 84.0, test=83.0),
        control,
        again(control, 5, 2, 81.0, test=80.5),
        again(control, 6, 1, 0.0, status="failed"),
    ]
    (pair,) = kd_pairs(trials, SPACE)
    assert pair.validation == Estimate.of([2.0, 3.0])
    assert pair.test == Estimate.of([1.5, 2.5])
    assert (pair.val_gain, pair.test_gain) == (2.5, 2.0)


def test_one_run_each_gives_a_gain_without_an_interval() -> None:
    trials = [trained(1, 82.0, width=9), trained(2, 80.0, width=9, terms="ce")]
    (pair,) = kd_pairs(trials, SPACE)
    assert (pair.val_gain, pair.validation.interval) == (2.0, None)


# Wanted runs


def test_members_of_the_front_and_their_controls_get_their_runs_side_by_side() -> None:
    fast, good = trained(1, 80.0, 1.0, width=9), trained(2, 90.0, 2.0)
    control = trained(3, 78.0, 1.1, width=9, terms="ce", source="control", architecture="student 9")
    trials = [fast, good, control, trained(4, 70.0, 1.5)]
    assert wanted_runs(trials, SPACE, None, 3) == [
        (1, 1), (3, 1), (2, 1), (1, 2), (3, 2), (2, 2),
    ]  # fmt: skip
    assert wanted_runs(trials, SPACE, None, 1) == []


@pytest.mark.parametrize("status", ["complete", "failed", "infeasible", None])
def test_a_run_that_was_begun_is_not_asked_for_again(status: Any) -> None:
    first = trained(1, 80.0)
    begun = again(first, 2, 1, 81.0, status=status or "complete")
    if status is None:
        begun = replace(begun, outcome=None)
    assert wanted_runs([first, begun], SPACE, None, 2) == []
    assert wanted_runs([first, begun], SPACE, None, 3) == [(1, 2)]


def test_near_rivals_are_chosen_and_far_ones_are_not() -> None:
    front = runs(1, between(80.0, 0.5))
    trials = [*front, trained(2, 79.8), trained(3, 70.0), trained(4, 79.7)]
    chances = front_probabilities(trials)
    assert rivals(front_members(trials), chances) == (2, 4)
    assert min(chances[2], chances[4]) >= RIVAL_PROBABILITY > chances[3]
    # At most as many as the front has members.
    assert wanted_runs(trials, SPACE, None, 3) == [(2, 1), (2, 2)]


def test_a_rival_that_enters_the_front_gets_its_control_and_runs() -> None:
    front = runs(1, [82.0, 79.0, 79.0])
    rival = runs(2, [81.0, 81.0, 81.0], width=9)
    control = trained(3, 70.0, width=9, terms="ce")
    trials = [*front, *rival, control]
    assert [trial.number for trial in front_members(trials)] == [2]
    assert (3, 1) in wanted_runs(trials, SPACE, None, 3)
    assert missing_controls([*front, *rival], SPACE, None) == [2]


def test_wanted_runs_end_when_every_one_is_there() -> None:
    draw = random.Random(3)
    trials = [trained(n, draw.gauss(80, 1), draw.uniform(1, 2)) for n in range(1, 30)]
    numbers = itertools.count(1000)
    for _ in range(200):
        wanted = wanted_runs(trials, SPACE, None, 3)
        if not wanted:
            break
        first, run = wanted[0]
        of = next(trial for trial in trials if trial.number == first)
        trials.append(again(of, next(numbers), run, (of.val_score or 0.0) + draw.gauss(0, 0.5)))
    assert wanted_runs(trials, SPACE, None, 3) == []
    complete = estimates(trials)
    assert all(complete[member.number].runs == 3 for member in front_members(trials))
    members = front_members(trials)
    near = rivals(members, front_probabilities(trials))[: len(members)]
    assert all(complete[number].runs == 3 for number in near)


def test_runs_of_an_exit_are_those_of_its_network() -> None:
    network = trained(1, 80.0, 2.0, params={"exit": 4}, width=9)
    leave = trained(
        2, 70.0, 1.0, params={"exit": 1}, width=9, source="exit", trained_with=1, architecture="e1"
    )
    trials = [network, leave]
    assert wanted_runs(trials, SPACE, None, 2) == [(1, 1)]
    again_whole = again(network, 3, 1, 81.0)
    again_leave = again(leave, 4, 1, 71.0, trained_with=3)
    assert wanted_runs([*trials, again_whole], SPACE, None, 2) == []
    done = [*trials, again_whole, again_leave]
    assert {number: e.mean for number, e in estimates(done).items()} == {1: 80.5, 2: 70.5}
    assert wanted_runs(done, SPACE, None, 2) == []


# Missing controls


def test_distilled_members_without_a_control_are_named() -> None:
    trials = [
        trained(1, 80.0, 1.0, width=9),
        trained(2, 90.0, 2.0, width=8),
        trained(3, 70.0, 1.1, width=9, terms="ce"),
        trained(4, 95.0, 3.0, terms="ce"),
        trained(5, 50.0, 3.0),
    ]
    assert missing_controls(trials, SPACE, None) == [2]


@pytest.mark.parametrize("status", ["failed", "infeasible", None])
def test_a_control_that_was_tried_is_not_missing(status: Any) -> None:
    member = trained(2, 90.0, 2.0, width=8)
    tried = trained(3, 0.0, width=8, terms="ce", source="control", architecture="", status="failed")
    ended = replace(tried.outcome, status=status, epochs_done=0, val_score=None)
    tried = replace(tried, outcome=ended if status else None)
    assert missing_controls([member], SPACE, None) == [2]
    assert missing_controls([member, tried], SPACE, None) == []
    other = replace(tried, params={**tried.params, "width": 7})
    assert missing_controls([member, other], SPACE, None) == [2]
    unlike = trained(4, 10.0, 9.0, width=6, terms="ce", source="control", control_of=2)
    assert missing_controls([member, unlike], SPACE, None) == []


def test_a_control_of_the_search_that_scored_too_little_is_missing() -> None:
    member = trained(2, 90.0, 2.0, width=8)
    poor = trained(3, 10.0, 2.0, width=8, terms="ce", source="control", status="infeasible")
    assert missing_controls([member, poor], SPACE, None) == [2]
    again = trained(4, 10.0, 2.0, width=8, terms="ce", source="control", control_of=2)
    assert missing_controls([member, poor, again], SPACE, None) == []


def test_exits_of_one_network_miss_one_control_between_them() -> None:
    network = trained(1, 80.0, 2.0, params={"exit": 4}, width=9)
    leave = trained(
        2, 70.0, 1.0, params={"exit": 1}, width=9, source="exit", trained_with=1, architecture="e1"
    )
    assert missing_controls([leave, network], SPACE, None) == [1]
    running = trained(
        3, 0.0, params={"exit": 4}, width=9, terms="ce", source="control", status="failed"
    )
    assert missing_controls([leave, network, replace(running, outcome=None)], SPACE, None) == []
