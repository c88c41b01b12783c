"""What a study found: the numbers that its report, its status and MLflow have to agree on."""

import copy
from dataclasses import replace

import pytest

from analysis.charts.front_chart import front_info
from analysis.charts.progress import progress_info
from analysis.comparison import compare
from analysis.findings import find, flat_front, time_spent
from analysis.front import front_hypervolume
from analysis.latency import TieTest
from analysis.report import render
from analysis.results import Session
from analysis.timing_notes import tie_note
from analysis.wording import headlines, sentences

PARAMETERS = {"key": "params_m", "label": "parameters", "unit": "M", "direction": "minimize"}
TIES = TieTest("[1,1,1,1]", (1.0, 1.0), 0.03).to_json()


def placed(sample, accuracy, latency_ms, params_m=None, blocks=(1, 1, 1, 1)):
    """A complete trial at a place; of so many parameters, where it matters."""
    made = sample.trial(
        sample.params(blocks), accuracy=accuracy, ratio=sample.TEACHER_MS / latency_ms
    )
    if params_m is not None:
        made["attributes"]["model"] |= {"params_m": params_m}
    return made


@pytest.fixture
def of_three(sample, study):
    """Writes a study of score, latency and parameters, with ties, and reads it back."""

    def write(*places):
        plan = copy.deepcopy(sample.plan(published=False))
        plan["space"]["objectives"].append(PARAMETERS)
        trials = [placed(sample, *place) for place in places]
        return study(trials, plan_content=plan, tie_test=TIES)

    return write


def said(results):
    return " ".join(sentences(results, find(results))).replace("\u00a0", " ")


def test_a_front_of_three_whose_larger_member_gave_way_has_ends_and_a_line(of_three):
    # Alone in score and latency the first would stay: equal in score, and no slower.
    results = of_three((90.0, 1.00, 2.0), (90.0, 1.01, 1.0))
    assert [trial.number for trial in results.front] == [1]
    assert flat_front(results) == results.front
    assert "One of 2 fully trained students is on the front" in said(results)
    assert "alone on the front" in headlines(results, find(results))[0].sentence
    assert front_info(results).step == ((pytest.approx(1.01), 90.0),)


def test_the_line_of_a_front_of_three_passes_by_every_member_that_none_beats(of_three):
    # The second is the fastest that stays; in score and latency alone the first would be.
    results = of_three((80.0, 1.00, 2.0), (80.0, 1.02, 1.0), (90.0, 2.0, 4.0), (85.0, 2.5, 3.0))
    assert [trial.number for trial in results.front] == [1, 2, 3]
    assert [trial.number for trial in flat_front(results)] == [1, 2]
    assert "from 80.0 % at 1.02 ms to 90.0 % at 2.00 ms" in said(results)


def test_there_is_one_hypervolume_whatever_is_tied(sample, study):
    trials = [placed(sample, 80.0, 8.00, blocks=(1, 0, 0, 0)), placed(sample, 85.0, 8.05)]
    results = study(trials, tie_test=TIES)
    assert results.tied
    told = find(results).hypervolume
    assert told == front_hypervolume(results.trials, results.reference)
    assert told == pytest.approx(progress_info(results).steps[-1].hypervolume)
    beside = compare([results, results]).studies[0]
    assert beside.hypervolume == beside.own_hypervolume == told
    assert "though the hypervolume counts both; gave way: t0000 to t0001" in tie_note(results)


def test_who_gave_way_for_a_tie_is_no_near_rival(sample, study):
    fast, good = placed(sample, 80.0, 8.00, blocks=(1, 0, 0, 0)), placed(sample, 85.0, 8.05)
    trials = [fast, good]
    for number, first in enumerate(trials[:2]):
        again = sample.replicate_of(first, number, 1, start=0.0)
        again["attributes"]["outcome"]["val_score"] = first["values"][0] + 0.2
        trials.append(again)
    results = study(trials, tie_test=TIES)
    untied = replace(results, tie_test=None)
    assert [trial.number for trial in untied.front] == [0, 1]
    assert [trial.number for trial in results.front] == [1]
    assert results.probabilities == {0: 0.0, 1: 1.0}
    assert results.near_rivals == ()
    assert "no student off the front comes near" in said(results)
    assert "nor one that is tied with it in latency takes its place" in render(results)
    assert "takes its place" not in render(untied)


def test_a_session_that_was_cut_off_counts_in_the_wall_time(realistic):
    cut_off = Session("2025-03-05T09:00:00+00:00", 250.0, "killed")
    results = replace(realistic, open_session=cut_off)
    ended = sum(session.seconds for session in realistic.sessions)
    assert time_spent(results).wall == ended + 250.0
    assert time_spent(realistic).wall == ended
    only = replace(realistic, sessions=(), open_session=cut_off)
    assert "of wall time" in render(only).replace("\u00a0", " ")
