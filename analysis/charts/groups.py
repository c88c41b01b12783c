"""Which of the report's marks a trial gets where every chart draws the same few kinds."""

from typing import Literal

from analysis.front import is_distilled
from analysis.record import StudyResults
from analysis.results import TrialResult

TrainedGroup = Literal["dominated", "control", "front"]


def trained(results: StudyResults) -> list[TrialResult]:
    """The configurations that ran to their end with a score and a latency, by number."""
    return [
        trial
        for trial in results.configurations
        if trial.status == "complete"
        and trial.val_score is not None
        and trial.latency_ms is not None
    ]


def group_of(results: StudyResults, trial: TrialResult) -> TrainedGroup:
    """A fully trained configuration as its mark: on the front, undistilled, or dominated."""
    if any(member.number == trial.number for member in results.front):
        return "front"
    return "dominated" if is_distilled(trial, results.plan.space) else "control"


_GOLDEN = 0.6180339887498949  # multiples of it, modulo 1, spread evenly however many there are


def apart(number: int) -> float:
    """How far from the middle, from -0.5 to 0.5, a trial is drawn where many have one place."""
    return (number * _GOLDEN) % 1.0 - 0.5
