"""Why a trial waits, and when there are too many that do."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from analysis.formatting import score_text
from analysis.front import dominates, trial_point
from analysis.results import TrialResult, trial_name
from search_spaces.space import Score

# So many trials keep their checkpoint while they wait, and fewer where the disk has no room for so
# many more of the largest.
MOST_WAITING = 100
SPARE_CHECKPOINTS = 10
_NAMED = 3


def why_it_waits(
    trial: TrialResult, expected: float | None, trials: Sequence[TrialResult], score: Score
) -> str:
    """Say at which rung a trial waits, and who is preferred to it.

    These are the complete trials that are better than it is expected to end, and no slower; where
    nothing can be expected yet, those that went on past its rung and were so when they stood there.

    Args:
        trial: One that waits.
        expected: What it is expected to score after its last epoch; None where unknown.
        trials: All of the study.
        score: What the score is called.
    """
    text = f"waited at epoch {trial.epochs_done}"
    if expected is not None:
        text += f", expected to end at {score_text(expected, score.unit)}"
    rivals = _rivals(trial, expected, trials)
    if not rivals:
        return f"{text}, too little to add to the front" if expected is not None else text
    named = ", ".join(map(trial_name, rivals[:_NAMED]))
    more = f" and {len(rivals) - _NAMED} more" if len(rivals) > _NAMED else ""
    return f"{text}, behind {named}{more} in {score.name} and latency"


def _rivals(trial: TrialResult, expected: float | None, trials: Sequence[TrialResult]) -> list[int]:
    latency = trial.latency_ms
    if latency is None:
        return []
    if expected is not None:
        points = ((other.number, trial_point(other)) for other in trials)
        return [n for n, point in points if point and dominates(point, (expected, latency))]
    rung, found = trial.epochs_done, []
    for other in trials:
        at_rung = {epoch.epoch: epoch.val_score for epoch in other.curve}.get(rung)
        known = at_rung is not None and other.latency_ms is not None and trial.val_score is not None
        if known and other.epochs_done > rung:
            mine, theirs = (trial.val_score, latency), (at_rung, other.latency_ms)
            if dominates(theirs, mine):  # type: ignore[arg-type]
                found.append(other.number)
    return found


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
