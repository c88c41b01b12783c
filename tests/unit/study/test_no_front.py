"""A study without a front says why, and what to ask for instead."""

import pytest

from analysis.results import EpochResult, Outcome, TrialResult
from search_spaces.space import ACCURACY
from study.ending import why_no_front


def trained(number: int, score: float, *, epochs: int = 1) -> TrialResult:
    """A trial of two epochs, of which so many are done."""
    curve = tuple(EpochResult(n, 1.0, 1.0, score, 0.1, 1.0) for n in range(1, epochs + 1))
    outcome = Outcome("infeasible", "accuracy too low", epochs, score, 1.0, 1.0, "then")
    return TrialResult(
        number=number,
        source="sampler",
        label=None,
        params={},
        architecture="small",
        epochs=2,
        started_at="now",
        model=None,
        latency=None,
        curve=curve,
        outcome=outcome,
        confirmed=None,
    )


def test_the_best_student_is_named_beside_what_was_asked() -> None:
    trials = [trained(0, 99.0), trained(1, 81.25, epochs=2), trained(2, 86.1, epochs=2)]
    told = why_no_front(trials, ACCURACY, 90.0, None).replace("\u00a0", " ")
    assert told.startswith(
        "of 2 fully trained students none has a validation accuracy of 90.00 % (the best is "
        "t0002, 86.10 %), so there is no front; ask for less under another --name"
    )


@pytest.mark.parametrize("note", [None, "the budget of 5 s was spent"])
def test_what_ended_a_study_before_a_trial_did_is_said_first(note: str | None) -> None:
    told = why_no_front([trained(0, 50.0)], ACCURACY, None, note)
    begun = "" if note is None else "the budget of 5 s was spent; "
    assert told == f"{begun}no trial was trained to the end, so there is no front"
