"""Why a trial waits, and when there are too many that do."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

from analysis.formatting import score_text
from analysis.front import dominates, third_value, trial_point
from analysis.results import Third, TrialResult, trial_name
from search_spaces.space import Objective, Score

# So many trials keep their checkpoint while they wait, and fewer where the disk has no room for so
# many more of the largest.
MOST_WAITING = 100
SPARE_CHECKPOINTS = 10
_NAMED = 3


def why_it_waits(
    trial: TrialResult,
    expected: float | None,
    trials: Sequence[TrialResult],
    score: Score,
    third: Objective | None = None,
) -> str:
    """Say at which rung a trial waits, and who is preferred to it.

    These are the complete trials that are better than it is expected to end, no slower, and no
    larger where there is a third objective; where nothing can be expected yet, those that went on
    past its rung and were so when they stood there.

    Args:
        trial: One that waits.
        expected: What it is expected to score after its last epoch; None where unknown.
        trials: All of the study.
        score: What the score is called.
        third: What the study keeps small beside the latency, if anything.
    """
    text = f"waited at epoch {trial.epochs_done}"
    if expected is not None:
        text += f", expected to end at {score_text(expected, score.unit)}"
    rivals = _rivals(trial, expected, trials, third)
    if not rivals:
        return f"{text}, too little to add to the front" if expected is not None else text
    named = ", ".join(map(trial_name, rivals[:_NAMED]))
    more = f" and {len(rivals) - _NAMED} more" if len(rivals) > _NAMED else ""
    better_in = f"{score.name} and latency"
    if third is not None:
        better_in = f"{score.name}, latency and {third.label}"
    return f"{text}, behind {named}{more} in {better_in}"


def _rivals(
    trial: TrialResult,
    expected: float | None,
    trials: Sequence[TrialResult],
    third: Objective | None,
) -> list[int]:
    small = None if third is None else cast(Third, third.key)
    costs = _costs(trial, small)
    if costs is None:
        return []
    if expected is not None:
        points = ((other.number, trial_point(other, small)) for other in trials)
        return [n for n, point in points if point and dominates(point, (expected, *costs))]
    rung, found = trial.epochs_done, []
    for other in trials:
        at_rung = {epoch.epoch: epoch.val_score for epoch in other.curve}.get(rung)
        its_costs = _costs(other, small)
        known = at_rung is not None and its_costs is not None and trial.val_score is not None
        if known and other.epochs_done > rung:
            mine, theirs = (trial.val_score, *costs), (at_rung, *its_costs)  # type: ignore[misc]
            if dominates(theirs, mine):  # type: ignore[arg-type]
                found.append(other.number)
    return found


def _costs(trial: TrialResult, third: Third | None) -> tuple[float, ...] | None:
    """A trial's latency (ms), and the third where there is one; None where not all are known."""
    costs = (trial.latency_ms,) if third is None else (trial.latency_ms, third_value(trial, third))
    return None if None in costs else cast(tuple[float, ...], costs)


def disk_is_low(checkpoints: Path, waiting: Iterable[int]) -> bool:
    """Whether the disk has no room for a few more checkpoints of the largest size that waits.

    Args:
        checkpoints: The folder of them.
        waiting: Numbers of the trials that wait.
    """
    largest = 0
    for number in waiting:
        folder = checkpoints / trial_name(number)
        if folder.is_dir():
            largest = max(largest, sum(path.stat().st_size for path in folder.iterdir()))
    return largest > 0 and shutil.disk_usage(checkpoints).free < SPARE_CHECKPOINTS * largest
