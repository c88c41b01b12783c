"""Which trial's student is asked for, and whether it can be had; without torch."""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from analysis.formatting import counted
from analysis.record import StudyResults
from analysis.results import TrialResult, trial_name
from study.commands import command
from study.plan import PlanError
from study.trial_context import has_student

EXPORTS_FOLDER = "exports"
_NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime")}
_NAMED = 6


def check_installed(form: str) -> None:
    """Refuse a format whose packages are not here.

    Raises:
        PlanError: naming them and how to get them.
    """
    missing = [name for name in _NEEDS.get(form, ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise PlanError(
            f"--format {form} needs {' and '.join(missing)}, which this Python does not have; "
            "pip install '.[export]', or ask for --format pt2"
        )


def trial_number(text: str) -> int:
    """Read a trial as people write it: `7` or `t0007`.

    Raises:
        PlanError: if it is neither.
    """
    if re.fullmatch(r"t?[0-9]+", text) is None:
        raise PlanError(
            f"--trial {text!r} is no trial; give its number or its name, such as 7 or t0007"
        )
    return int(text.removeprefix("t"))


def kept_trials(folder: Path, trials: Sequence[TrialResult]) -> list[TrialResult]:
    """Return the finished trials whose student lies in the study's folder."""
    return [
        trial
        for trial in trials
        if trial.status == "complete" and has_student(folder, trial.number)
    ]


def chosen_trial(folder: Path, results: StudyResults, number: int) -> TrialResult:
    """Return a trial that can be exported.

    Raises:
        PlanError: saying why it cannot be, and which can.
    """
    kept = kept_trials(folder, results.trials)
    for trial in kept:
        if trial.number == number:
            return trial
    raise PlanError(
        f"--trial {number}: {_why_not(results, number)}; {_instead(folder, results, kept, number)}"
    )


def _why_not(results: StudyResults, number: int) -> str:
    study, count = results.plan.name, len(results.trials)
    if number >= count:
        if not count:
            return f"study {study} has no trials yet"
        return f"study {study} has {counted(count, 'trial')}, the last one {trial_name(count - 1)}"
    trial = results.trials[number]
    if trial.status == "running":
        return f"{trial.name} is not finished (epoch {trial.epochs_done} of {trial.epochs})"
    if trial.status == "complete":
        return (
            f"{trial.name} is finished, but its student was not kept: a study keeps those of its "
            "front and of what it trained again, and those of published rows and of controls until "
            "they are scored"
        )
    return f"{trial.name} has no finished student ({trial.status}: {trial.reason})"


def _instead(folder: Path, results: StudyResults, kept: Sequence[TrialResult], number: int) -> str:
    if not kept:
        return f"no student is kept; see {command('status', folder)}"
    nearest = min(kept, key=lambda trial: abs(trial.number - number))
    members = {trial.number for trial in results.front}
    first = sorted(kept, key=lambda trial: (trial.number not in members, trial.number))
    named = ", ".join(trial.name for trial in first[:_NAMED])
    more = f" and {len(first) - _NAMED} more" if len(first) > _NAMED else ""
    return f"can be exported: {named}{more}; the nearest is --trial {nearest.number}"
