"""Where the hours went: numbers add up, older records have none, the page shows them."""

from dataclasses import replace

import pytest

from analysis.phases import Phases
from analysis.record import read_record
from analysis.report import render
from analysis.sections.time import hours

STAGES = {"starting": 6.0, "preparing": 10.0, "trials": 100.0, "confirming": 4.0}
VALUES = {
    "blocks_1": 1, "blocks_2": 0, "blocks_3": 0, "blocks_4": 0, "stem_stride": 2, "terms": "ce+kl",
    "temperature": 4.0, "alpha": 0.5, "learning_rate": 0.1, "schedule": "onecycle",
    "batch_size": 64, "train_share": 1.0,
}  # fmt: skip


@pytest.fixture
def timed(sample, tmp_path):
    """A study of two trials on two workers."""
    trials = []
    for steps in (60.0, 90.0):
        trial = sample.trial(VALUES, accuracy=60.0, ratio=4.0)
        phases = Phases(build=0.5, latency=2.0, steps=steps, validation=10.0, handover=1.0)
        usage = {"retries": 0, "device_seconds": 99.0, "phases": phases.to_json()}
        trial["attributes"]["usage"] = usage
        trials.append(trial)
    sessions = [
        {"started_at": "2025-03-04T09:00:00+00:00", "seconds": 121.0, "end": "complete",
         "stages": STAGES, "workers": 2, "driver": 8.0},
    ]  # fmt: skip
    return read_record(sample.write_record(tmp_path / "timed", trials, sessions=sessions))


def test_what_workers_did_and_that_they_stood_idle_adds_up_to_their_time(timed):
    found = hours(timed)

    assert found.stages == STAGES
    assert found.workers["steps"] == 150.0
    assert found.workers["handover"] == 2.0
    assert sum(found.workers.values()) == pytest.approx(2 * STAGES["trials"])
    assert found.workers["idle"] == pytest.approx(200.0 - 150.0 - 20.0 - 4.0 - 1.0 - 2.0)
    assert found.to_json()["driver"] == 8.0
    assert found.trials == 2


def test_the_report_says_where_the_hours_went(timed):
    page = render(timed)

    assert "Forward, backward, optimiser" in page
    assert "75.0\u00a0%" in page  # 150 s of 200 s
    assert "4.00\u00a0s each" in page  # of the driver, a training


@pytest.mark.parametrize("how", ["killed once", "at work"])
def test_what_a_driver_took_that_has_not_said_so_is_not_told_as_nothing(how, timed):
    (session,) = timed.sessions
    killed = replace(session, driver=None, stages=None)
    if how == "killed once":
        unknown = replace(timed, sessions=(killed, session))
    else:
        unknown = replace(timed, open_session=killed)

    assert hours(unknown).to_json()["driver"] is None
    page = render(unknown)
    assert "of processor time" not in page
    assert "Forward, backward, optimiser" in page


def test_records_from_before_phases_were_kept_have_none_and_still_a_report(realistic):
    assert hours(realistic) is None
    assert 'id="phases-table"' not in render(realistic)


def test_the_time_of_runs_trained_as_one_is_that_of_the_first_and_said_so(sample, tmp_path):
    trials = []
    for runs in (3, 1, 1):
        trial = sample.trial(VALUES, accuracy=60.0, ratio=4.0)
        phases = Phases(steps=60.0).to_json()
        trial["attributes"]["usage"] = {"device_seconds": 99.0, "phases": phases, "runs": runs}
        trials.append(trial)
    sessions = [
        {"started_at": "2025-03-04T09:00:00+00:00", "seconds": 121.0, "end": "complete",
         "stages": STAGES, "workers": 2, "driver": 8.0},
    ]  # fmt: skip
    results = read_record(sample.write_record(tmp_path / "fused", trials, sessions=sessions))

    found = hours(results)
    assert found.together == found.to_json()["trained_together"] == 2
    assert "2\u00a0further runs took the steps of another run" in render(results)
