"""Finding the studies of a folder, and saying in a word how each one is."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analysis.record import RecordReadError
from analysis.results import PLAN_FILE
from search_spaces.space import nearest
from study.lock import is_live
from study.names import StudyName
from study.record import RecordError
from study.summary import StudySummary, summarise


def find_study(studies: Path, name: str) -> Path:
    """Return the folder of a study.

    Raises:
        StudyNameError: if no study can have that name.
        RecordError: if there is no such study; the message names the nearest one.
    """
    folder = StudyName(name).folder(studies)
    if (folder / PLAN_FILE).is_file():
        return folder
    known = [path.parent.name for path in studies.glob(f"*/{PLAN_FILE}")]
    end = nearest(name, sorted(known)) if known else "; there are none"
    raise RecordError(f"no study {name!r} in {studies}{end}")


def state_of(folder: Path, summary: StudySummary) -> str:
    """Return running, interrupted, or how the last run ended."""
    if is_live(folder):
        return "running"
    sessions = summary.results.sessions
    if summary.counts["running"] or not sessions:
        return "interrupted"
    return {"complete": "finished", "budget": "finished (budget spent)"}.get(
        sessions[-1].end, sessions[-1].end
    )


def study_states(studies: Path) -> list[dict[str, Any]]:
    """Return name, state, counts, best accuracy and age (s) of each study, latest first.

    A study whose record cannot be read is listed as damaged, with the reason.
    """
    states = [_state(path.parent) for path in sorted(studies.glob(f"*/{PLAN_FILE}"))]
    return sorted(states, key=lambda state: state["age_seconds"])


def _state(folder: Path) -> dict[str, Any]:
    age = time.time() - (folder / PLAN_FILE).stat().st_mtime
    body: dict[str, Any] = {"name": folder.name, "age_seconds": round(age)}
    try:
        summary = summarise(folder)
    except RecordReadError as error:
        empty = {"trials": 0, "planned": None, "front": 0, "best_val_accuracy": None}
        return {**body, **empty, "state": "damaged", "reason": str(error)}
    created = datetime.fromisoformat(summary.results.plan.created_at)
    return {
        "name": folder.name,
        "state": state_of(folder, summary),
        "trials": len(summary.trials),
        "planned": summary.results.plan.plan.get("trials"),
        "front": len(summary.front),
        "best_val_accuracy": max((t.val_accuracy or 0.0 for t in summary.front), default=None),
        "age_seconds": round((datetime.now(UTC) - created).total_seconds()),
    }


def study_lines(states: Sequence[dict[str, Any]]) -> list[str]:
    """Return a table of studies for people, a line each."""
    from study.progress import duration

    width = max(len(state["name"]) for state in states) + 2
    lines = [f"{'study':<{width}}{'state':<26}{'trials':>9}{'front':>7}{'best':>9}   age"]
    for state in states:
        best = state["best_val_accuracy"]
        shown = "" if best is None else f"{best:.2f} %"
        trials = f"{state['trials']}/{state['planned']}"
        lines.append(
            f"{state['name']:<{width}}{state['state']:<26}{trials:>9}{state['front']:>7}"
            f"{shown:>9}   {duration(state['age_seconds'])}"
        )
    return lines
