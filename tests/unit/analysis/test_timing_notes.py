from dataclasses import replace

import pytest

from analysis.export import results_markdown
from analysis.latency import NOTHING_TIED, Latency, SoloLatency, TieTest, TieTests, Timing
from analysis.report import render
from analysis.results import Confirmation
from analysis.timing_notes import noise_note, tie_note, timed_on, unsettled

NBSP = "\u00a0"


@pytest.fixture
def results(sample, study):
    small, large = sample.params((1, 0, 0, 0)), sample.params((2, 2, 2, 2))
    trials = [
        sample.trial(small, accuracy=70.0, ratio=4.04, label="Small"),
        sample.trial(large, accuracy=80.0, ratio=4.0),
    ]
    return study(trials, tie_test=TieTest("[1,0,0,0]", (1.0,) * 5, 0.0213).to_json())


def one_test(spread):
    return TieTests((TieTest("[1,0,0,0]", (1.0,) * 5, spread),))


def confirmed(results, sample, number, *, settled):
    """The same, with a trial's latency taken on the idle device."""
    latency = Latency.from_json({**sample.latency(4.0, idle=True), "settled": settled})
    trials = [
        replace(trial, confirmed=Confirmation(75.0, latency)) if trial.number == number else trial
        for trial in results.trials
    ]
    return replace(results, trials=tuple(trials))


def test_who_is_off_the_front_for_a_tie_is_named_with_who_stayed(results):
    note = tie_note(results)
    assert note.startswith(
        f"Latencies less than 2.1{NBSP}% apart count as tied: so far apart may two"
    )
    assert f"5{NBSP}copies of [1,0,0,0]" in note
    assert note.endswith("gave way: Small to t0001.")


def test_a_front_without_ties_says_so_and_a_study_without_a_test_says_nothing(results):
    apart = replace(results, tie_tests=one_test(0.001))
    assert tie_note(apart).endswith("; here none had to give way.")
    assert tie_note(replace(results, tie_tests=NOTHING_TIED)) is None


def test_members_whose_latency_did_not_settle_are_named_with_its_interval(results, sample):
    assert noise_note(results) is None  # records that do not say
    noisy = confirmed(results, sample, 1, settled=False)
    assert [trial.number for trial in unsettled(noisy)] == [1]
    assert noise_note(noisy).endswith(f"t0001 (7.0{NBSP}%).")
    assert noise_note(confirmed(results, sample, 1, settled=True)) is None


def test_how_latencies_were_taken_is_said_in_words():
    timing = Timing(1.0, 2.0)
    now = SoloLatency(timing, timing, "cpu (EPYC)", 1, "onnx", folded=True, clock="cpu")
    assert timed_on(now) == (
        f"cpu (EPYC), 1{NBSP}thread, in ONNX Runtime, batch norms folded, by the thread's own "
        "processor time"
    )
    paced = replace(now, runtime="eager", over_metronome=8.0)
    assert timed_on(paced).endswith("own processor time, small students by a metronome's pace")
    before = SoloLatency(timing, timing, "cpu (EPYC)", 2)
    assert timed_on(before) == f"cpu (EPYC), 2{NBSP}threads, in PyTorch, by the wall clock"


def test_a_test_that_tells_little_apart_is_warned_of_with_its_mend(results):
    noisy = replace(results, tie_tests=one_test(2.27))
    note = tie_note(noisy)
    assert note.startswith("Warning: timings of students were too noisy to compare them by.")
    assert f"may lie 227{NBSP}% apart, so differences below that mean nothing" in note
    assert "under another --name on an idle machine" in note
    assert note.endswith("gave way: Small to t0001.")
    quiet = replace(results, tie_tests=one_test(0.2))
    assert "Warning" not in tie_note(quiet)
    assert "too noisy to compare" in render(noisy)
    assert "too noisy to compare" in results_markdown(noisy)


def of_two_paces(results, *, small=(), spread=0.5):
    """The same with a test of either pace; those `small` are by the metronome's."""
    trials = [
        replace(trial, latency=replace(trial.latency, paced_by="metronome"))
        if trial.number in small
        else trial
        for trial in results.trials
    ]
    tests = (
        TieTest("[2,2,2,2]", (1.0,) * 9, spread, "teacher"),
        TieTest("[1,0,0,0]", (1.0,) * 5, 0.004, "metronome"),
    )
    return replace(results, trials=tuple(trials), tie_tests=TieTests(tests))


def test_of_two_paces_both_are_told_and_warned_is_of_whose_students_are_shown(results):
    note = tie_note(of_two_paces(results, small=(0,)))
    assert note.startswith("Warning: timings of large students were too noisy")
    assert (
        f"Latencies less than 0.4{NBSP}% apart count as tied, less than 50{NBSP}% apart where one "
        "is of a large student: so far apart may two timings of one student lie (A/A test, "
        f"5{NBSP}copies of [1,0,0,0] and 9{NBSP}copies of [2,2,2,2])."
    ) in note
    assert note.endswith("gave way: Small to t0001.")

    small_alone = tie_note(of_two_paces(results, small=(0, 1)))
    assert "Warning" not in small_alone
    assert small_alone.endswith("; here none had to give way.")

    large_alone = tie_note(of_two_paces(results))
    assert large_alone.startswith("Warning: timings of students were too noisy")


def test_where_small_students_are_no_surer_one_test_is_told(results):
    note = tie_note(of_two_paces(results, small=(0,), spread=0.001))
    assert "large" not in note
    assert "copies of [1,0,0,0])" in note
