import json
import math
from dataclasses import replace

import pytest

from analysis.results import (
    Confirmation,
    EpochResult,
    Latency,
    ModelSize,
    Outcome,
    Ratio,
    ReferencePoint,
    SoloLatency,
    TeacherResult,
    Timing,
    TrialResult,
    epoch_attribute,
    trial_name,
)
from analysis.stored import ResultFormatError

OUTCOME = Outcome("complete", None, 30, 77.25, 7.6, 291.5, "2025-03-04T09:00:00+00:00")


def test_every_result_survives_json(sample):
    latency = Latency.from_json(sample.latency(3.0))
    results = [
        OUTCOME,
        latency,
        Confirmation(76.5, latency),
        ModelSize(11.2, 214.0, 45_100_000),
        EpochResult(1, 2.3, 2.2, 12.5, 0.05, 9.1),
        TeacherResult.from_json(sample.teacher()),
    ]
    for result in results:
        assert type(result).from_json(json.loads(json.dumps(result.to_json()))) == result


def test_latency_json_is_the_stored_object(sample):
    stored = sample.latency(2.5, idle=True)
    latency = Latency.from_json(stored)
    assert latency.to_json().items() >= {**stored, **latency_of_today(stored)}.items()


def latency_of_today(stored):
    """What a latency stored before more was kept of it is read as."""
    timings = {
        name: {**timing, "p90": None, "p99": None, "p25": None}
        for name, timing in stored.items()
        if name.endswith("_ms")
    }
    later = {"runtime": "eager", "folded": False, "clock": "wall", "settled": None}
    return {**timings, **later, "reference_ms": None, "paced_by": "teacher"}


def test_a_teacher_timed_before_its_lower_quartile_was_kept_has_its_median_for_latency():
    timing = {"median": 6.0, "p95": 7.0}
    stored = {"batch_1_ms": timing, "batch_64_ms": timing, "device": "cpu", "threads": 1}
    before = SoloLatency.from_json(stored)
    assert (before.latency_ms, before.over_metronome) == (6.0, None)
    now = replace(before, batch_1_ms=replace(before.batch_1_ms, p25=5.0))
    assert now.latency_ms == 5.0


def test_a_number_that_is_not_finite_is_stored_as_null():
    stored = EpochResult(1, math.nan, math.inf, 10.0, 0.1, 1.0).to_json()
    assert json.loads(json.dumps(stored, allow_nan=False))["train_loss"] is None
    assert math.isnan(EpochResult.from_json(stored).val_loss)


def test_unknown_fields_are_ignored_so_that_the_format_may_grow():
    assert Timing.from_json({"median": 1, "p95": 2.5, "p99.9": 3}) == Timing(1.0, 2.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "odd"}, "status.*'odd'.*complete"),
        ({"epochs_done": "5"}, "epochs_done.*'5'"),
        ({"epochs_done": True}, "epochs_done.*True"),
        ({"train_seconds": "long"}, "train_seconds"),
    ],
)
def test_a_damaged_field_is_named(change, message):
    with pytest.raises(ResultFormatError, match=message):
        Outcome.from_json({**OUTCOME.to_json(), **change})


def test_a_missing_field_is_named_unless_it_may_be_absent():
    stored = OUTCOME.to_json()
    del stored["rung"]
    assert Outcome.from_json(stored) == OUTCOME
    del stored["finished_at"]
    with pytest.raises(ResultFormatError, match="Outcome: field 'finished_at' is missing"):
        Outcome.from_json(stored)
    with pytest.raises(ResultFormatError, match="Ratio is 3, not an object"):
        Ratio.from_json(3)


def test_names():
    assert epoch_attribute(5) == "epoch:0005"
    assert trial_name(42) == "t0042"
    with pytest.raises(ValueError, match="count from 1"):
        epoch_attribute(0)


def trial(**fields):
    return TrialResult(7, "sampler", None, {}, "[1,1,1,1] stride 2", 30, **fields)


def test_status_of_a_trial():
    assert trial(outcome=OUTCOME).status == "complete"
    assert trial().status == "running"
    lost = trial(closed=True)
    assert (lost.status, lost.reason) == ("failed", "closed without an outcome in the record")


def test_latency_of_a_trial_is_the_confirmed_one_where_there_is_one(sample):
    idle = Latency.from_json(sample.latency(4.0, idle=True))
    assert trial(outcome=OUTCOME, search_latency_ms=9.0).latency_ms == 7.6
    assert trial(search_latency_ms=9.0).latency_ms == 9.0
    confirmed = trial(outcome=OUTCOME, confirmed=Confirmation(76.0, idle))
    assert confirmed.latency_ms == pytest.approx(24.6 / 4.0)


def test_a_confirmed_latency_is_the_teachers_over_the_ratio_where_it_says_which(sample):
    stored = {**sample.latency(4.0, idle=True), "reference_ms": 20.0}
    confirmed = trial(outcome=OUTCOME, confirmed=Confirmation(76.0, Latency.from_json(stored)))
    assert confirmed.latency_ms == pytest.approx(5.0)


def test_a_running_trial_tells_its_last_epoch():
    curve = tuple(EpochResult(epoch, 2.0, 2.0, 10.0 * epoch, 0.1, 3.0) for epoch in (1, 2))
    running = trial(curve=curve)
    assert (running.val_score, running.epochs_done, running.train_seconds) == (20.0, 2, 6.0)
    assert running.name == running.title == "t0007"


def test_search_latency_is_the_teachers_idle_latency_over_the_ratio(sample):
    assert Latency.from_json(sample.latency(2.5)).search_latency_ms(30.0) == pytest.approx(12.0)


def test_the_corner_of_a_third_objective_is_the_teachers(sample):
    teacher = TeacherResult.from_json(sample.teacher())
    two = ReferencePoint.of(teacher, 10.0, 100.0)

    assert two == ReferencePoint(10.0, sample.TEACHER_MS, 100.0)
    assert ReferencePoint.of(teacher, 10.0, 100.0, "params_m").third == teacher.params_m
    assert ReferencePoint.of(teacher, 10.0, 100.0, "flops_m").third == teacher.flops_m
    # Records made before have none.
    assert ReferencePoint.from_json({k: v for k, v in two.to_json().items() if k != "third"}) == two
