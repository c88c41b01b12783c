"""Replayed runs carry the dates of the record; a study's curve is that of its front."""

import random
import time
from dataclasses import replace

import pytest

from analysis.front import front_hypervolume
from analysis.results import (
    Confirmation,
    EpochResult,
    Latency,
    Outcome,
    ReferencePoint,
    TrialResult,
)
from study.tracking.facts import hypervolume_curve
from study.tracking.points import curve_replay, epoch_times, milliseconds, span

NINE = "2025-01-01T09:00:00+00:00"
TEN = "2025-01-01T10:00:00+00:00"
HOUR = 3_600_000


def trial(
    number: int = 0,
    *,
    started_at: str | None = NINE,
    finished_at: str | None = TEN,
    accuracy: float = 60.0,
    latency_ms: float = 5.0,
) -> TrialResult:
    outcome = None
    if finished_at is not None:
        outcome = Outcome("complete", None, 2, accuracy, latency_ms, 30.0, finished_at)
    curve = tuple(EpochResult(n, 1.0, 1.1, 50.0 + n, 0.1, 15.0) for n in (1, 2))
    return TrialResult(
        number, "sampler", None, {}, "a", 2, curve=curve, outcome=outcome, started_at=started_at
    )


def test_epochs_fill_the_time_of_their_trial_by_their_seconds() -> None:
    assert epoch_times([1.0, 3.0], 1000, 9000) == [3000, 9000]
    assert epoch_times([0.0, 0.0], 1000, 9000) == [5000, 9000]
    assert epoch_times([float("nan"), 2.0, 2.0], 0, 100) == [0, 50, 100]
    assert epoch_times([], 1000, 9000) == []


def test_a_trial_is_dated_by_its_record_as_far_as_that_goes() -> None:
    nine, ten = milliseconds(NINE), milliseconds(TEN)
    assert nine is not None
    assert ten == nine + HOUR
    assert span(trial(), 0) == (nine, ten)
    assert span(trial(finished_at=None), 0) == (nine, nine + 30_000)
    assert span(trial(started_at=None), 0) == (ten - 30_000, ten)
    assert span(trial(started_at="yesterday"), 0) == (ten - 30_000, ten)
    assert span(trial(started_at=None, finished_at=None), ten) == (ten - 30_000, ten)
    assert span(trial(started_at=TEN, finished_at=NINE), 0) == (nine, nine)  # a clock was set


def test_the_points_of_a_replay_are_made_only_when_asked_for() -> None:
    replayed = curve_replay(trial().curve, 0, 1000)
    assert replayed.last is not None
    assert replayed.last["val_score"] == 52.0
    points = [p for p in replayed.points() if p.key == "val_score"]
    assert [(p.step, p.value, p.timestamp) for p in points] == [(1, 51.0, 500), (2, 52.0, 1000)]
    assert curve_replay((), 0, 1000).points() == []


def test_values_that_are_not_finite_are_not_waited_for() -> None:
    (first, last) = trial().curve
    replayed = curve_replay((first, replace(last, val_loss=float("nan"))), 0, 1000)
    assert replayed.last is not None
    assert "val_loss" not in replayed.last
    assert [p.step for p in replayed.points() if p.key == "val_loss"] == [1]


def many(count: int, seed: int = 5) -> list[TrialResult]:
    draw = random.Random(seed)
    trials = [
        trial(
            number,
            finished_at=f"2025-01-{draw.randint(1, 28):02d}T10:00:00+00:00",
            accuracy=draw.uniform(5, 100),
            latency_ms=draw.uniform(0.5, 12),
        )
        for number in range(count)
    ]
    return [*trials, trial(count, finished_at=None)]


def test_the_curve_of_a_study_is_its_hypervolume_after_each_end() -> None:
    trials, reference = many(120), ReferencePoint(10.0, 10.0, 100.0)
    ended = [t for t in trials if t.outcome]
    ended.sort(key=lambda t: (t.outcome.finished_at if t.outcome else "", t.number))

    curve = hypervolume_curve(trials, reference)

    assert [c.trials for c in curve] == list(range(1, 121))
    assert [c.hypervolume for c in curve] == [
        pytest.approx(front_hypervolume(ended[:count], reference)) for count in range(1, 121)
    ]
    assert [c.at for c in curve] == [span(t, 0)[1] for t in ended]


def test_the_curve_of_a_study_stays_that_of_the_latencies_searched_by() -> None:
    trials, reference = many(20), ReferencePoint(10.0, 10.0, 100.0)
    once, share = {"median": 20.0, "p95": 21.0}, {"median": 1.0, "low": 0.9, "high": 1.1}
    batches = {f"{whose}batch_{n}_ms": once for whose in ("", "teacher_") for n in (1, 64)}
    ratios = {f"ratio_batch_{n}": share for n in (1, 64)}
    about = {"device": "cpu", "threads": 1, "precision": "float32", "idle": True, "repeats": 41}
    idle = Latency.from_json({**about, **batches, **ratios})
    confirmed = [
        replace(t, idle_latency=idle, confirmed=Confirmation(50.0, idle) if t.number % 2 else None)
        for t in trials
    ]

    assert confirmed[0].latency_ms == 20.0
    assert hypervolume_curve(confirmed, reference) == hypervolume_curve(trials, reference)


def test_the_curve_of_thousands_of_trials_takes_no_time() -> None:
    trials = many(5000)
    begun = time.process_time()
    hypervolume_curve(trials, ReferencePoint(10.0, 10.0, 100.0))
    assert time.process_time() - begun < 1.0
