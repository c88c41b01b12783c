"""How many of a study's trials fail, and when that is too many to go on."""

import math
from collections.abc import Iterable

from analysis.results import TrialResult, trained_alone
from study.rungs import first_wait

# The word for how such a study ended, as the record and a report have it.
TOO_MANY_FAILURES = "too many failures"
# Fewer trials than this say nothing about the share that fails.
_FEWEST = 4


def fine_from(scheduler: str | None, max_epochs: int) -> int | None:
    """Return the epoch from which an open trial counts among those that have not failed.

    Where trials wait at rungs most of a study's are open to its end, and those that waited once
    have shown that they train. Elsewhere (None) a trial is soon told by how it ends.
    """
    return first_wait(max_epochs) if scheduler == "pause" else None


def is_fine_so_far(trial: TrialResult, since: int | None) -> bool:
    """Whether a trial is open and has come as far as :func:`fine_from` says, in ``since``."""
    return trial.status == "running" and since is not None and trial.epochs_done >= since


def too_many_failed(failed: int, counted: int, most: float) -> bool:
    """Whether so many failed of the trials that tell that a study ends.

    Args:
        failed: Trials that failed.
        counted: Trials that have ended, those among them, and those that are fine so far.
        most: The share that may fail.
    """
    return counted >= _FEWEST and failed > most * counted


def share_to_allow(trials: Iterable[TrialResult], most: float, since: int | None) -> float | None:
    """Return the share, in tenths, that has to be allowed to fail for a study to go on.

    None where ``most`` will do. ``since`` is what :func:`fine_from` says.
    """
    told = [t for t in trained_alone(trials) if t.status != "running" or is_fine_so_far(t, since)]
    failed = sum(trial.status == "failed" for trial in told)
    if not too_many_failed(failed, len(told), most):
        return None
    return min(1.0, (math.floor(10 * failed / len(told)) + 1) / 10)
