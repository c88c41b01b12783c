"""What a study found: the numbers that its report, its status and MLflow have to agree on."""

import copy
from dataclasses import replace

import pytest

from analysis.charts.axes import axis_note
from analysis.charts.front_chart import front_info
from analysis.charts.progress import progress_info
from analysis.comparison import compare
from analysis.findings import find, flat_front, time_spent
from analysis.front import front_hypervolume
from analysis.latency import NOTHING_TIED, TieTest
from analysis.report import Written, render, summary
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
    untied = replace(results, tie_tests=NOTHING_TIED)
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


def test_the_fastest_near_the_teacher_may_be_off_the_front_for_a_tie(sample, study):
    fast = placed(sample, 81.0, 8.00, params_m=4.0)
    good = placed(sample, 81.2, 8.05, params_m=9.0, blocks=(2, 1, 1, 1))
    small = placed(sample, 80.9, 8.02, params_m=2.0, blocks=(1, 0, 0, 0))
    results = study([fast, good, small], tie_test=TIES)
    assert [trial.number for trial in results.front] == [1]
    found = find(results)
    assert (found.close.name, found.smallest.name) == ("t0000", "t0002")
    assert "The fastest student within one point of ResNet-50 [3,4,6,3] (81.4 %) is t0000" in (
        said(results)
    )
    assert "; the fastest is t0000 (" in headlines(results, found)[1].sentence


def test_a_student_that_breaks_a_constraint_is_not_the_fastest_near_the_teacher(sample, study):
    results = study([placed(sample, 81.0, 8.0), placed(sample, 81.0, 9.0, blocks=(2, 1, 1, 1))])
    outcome = replace(results.trials[0].outcome, breaks="too large")
    barred = replace(results, trials=(replace(results.trials[0], outcome=outcome),
                                      results.trials[1]))  # fmt: skip
    assert (find(results).close.name, find(barred).close.name) == ("t0000", "t0001")


def test_the_line_is_not_called_the_best_where_members_gave_way_for_ties(sample, study):
    trials = [placed(sample, 80.0, 8.00, blocks=(1, 0, 0, 0)), placed(sample, 85.0, 8.05)]
    beaten = placed(sample, 70.0, 9.0, blocks=(2, 1, 1, 1))
    results = study([*trials, beaten], tie_test=TIES)
    note = axis_note(front_info(results), "latency")
    assert note.endswith(
        "The line joins the members of the front; students whose latencies are tied with that of a "
        "better one are left off it."
    )
    untied = replace(results, tie_tests=NOTHING_TIED)
    best = "The line is the best accuracy reached within each latency."
    assert axis_note(front_info(untied), "latency").endswith(best)


def test_the_line_of_a_front_of_three_is_named_by_what_it_joins(of_three):
    results = of_three((80.0, 1.00, 2.0), (80.0, 1.02, 1.0), (90.0, 2.0, 4.0), (85.0, 2.5, 3.0))
    note = axis_note(front_info(results), "latency")
    assert "joins the members of the front that none of them beats in accuracy and latency;" in note


@pytest.mark.parametrize("place", [(85.0, 30.0), (5.0, 8.0)])
def test_no_trade_off_is_claimed_where_no_member_dominates_any_area(sample, study, place):
    results = study([placed(sample, *place), placed(sample, place[0] - 1, 40.0)])
    found = find(results)
    assert found.hypervolume == 0.0
    assert found.best_trade_off is None
    none = (
        "No student on the front is both faster than the teacher and better than chance accuracy."
    )
    assert none in said(results)
    assert "best trade-off is" not in said(results)
    line = headlines(results, found)[0]
    assert (line.title, line.figure) == ("Best trade-off", "None")
    assert line.bound.startswith("the fastest is ")
    assert line.sentence.startswith(f"{none} The fastest is t0000 (")
    told = summary(results, Written([], []))
    assert told["best_trade_off"] is None
    assert any(none in sentence for sentence in told["found"])
    assert "by itself dominates" not in render(results)


def test_no_trade_off_of_one_student_without_a_teacher_and_of_another_score(sample, study):
    results = study([placed(sample, 85.0, 30.0)])
    plan = results.plan
    space = replace(plan.space, taught=False, score=replace(plan.space.score, name="PSNR"))
    lone = replace(results, teacher=None, plan=replace(plan, space=space))
    none = (
        "No student on the front is both faster than the default student and better than always "
        "answering the mean training image."
    )
    assert none in said(lone)
    line = headlines(lone, find(lone))[0]
    assert line.sentence.startswith(f"{none} One student was trained to its last epoch: t0000")


def near_teacher(sample, study, gap, params_m=10.0):
    """A study of one student at such a distance to its teacher."""
    teacher = sample.teacher(val_score=64.4)
    trial = placed(sample, 64.4 + gap, 8.0, params_m=params_m)
    return study([trial], teacher_content=teacher)


def test_a_gap_of_exactly_one_point_is_within_it(sample, study):
    results = study([placed(sample, 63.4, 8.0)], teacher_content=sample.teacher(val_score=64.4))
    assert find(results).close_gap < -1.0  # of decimals that floats do not hold
    assert find(results).smallest is not None
    assert "The fastest student within one point" in said(results)
    assert "1.0 points below at" in said(results)


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (-1.04, "is 1.04 points below it"),
        (-1.004, "is 1.004 points below it"),
        (-0.96, ": 0.96 points below at"),
        (-1.2, "is 1.2 points below it"),
        (1.04, "exceeds ResNet-50 [3,4,6,3] (64.4 %): +1.04 points"),
    ],
)
def test_a_distance_near_the_bound_is_told_so_that_it_differs_from_it(sample, study, gap, words):
    results = near_teacher(sample, study, gap)
    assert words in said(results)
    line = headlines(results, find(results))[1]
    shown = f"{abs(gap):g} points"
    assert shown in f"{line.figure} {line.bound} {line.sentence}".replace("\u00a0", " ")


def test_a_small_share_of_the_parameters_is_told_with_two_digits_everywhere(sample, study):
    results = near_teacher(sample, study, -0.5, params_m=23.52 * 0.00052)
    assert "with 0.052 % of its parameters" in said(results)
    assert "0.052\u00a0%" in headlines(results, find(results))[1].sentence
