"""What hands trials out to workers: what is asked of it, and how a trial becomes a task."""

from typing import Any, Protocol

from analysis.results import TrialResult
from search_spaces.space import SearchSpace
from study.record import StudyRecord
from study.trial import TrialTask


class Queue(Protocol):
    """Says which trial is next; the search and the further runs after it have one each."""

    @property
    def may_grow(self) -> bool:
        """Whether there may yet be something to hand out, when now there is nothing."""
        ...

    @property
    def handed_out(self) -> frozenset[int]:
        """Numbers of the trials that are being trained, or are about to be."""
        ...

    def next_task(self) -> TrialTask | None:
        """Return the next trial to run, added to the record; None when there is none."""
        ...

    def owns(self, trial: TrialResult) -> bool:
        """Whether a trial is one of those that are handed out here."""
        ...

    def again(self, number: int) -> None:
        """Take back a trial whose worker died."""
        ...

    def ended(self, number: int) -> None:
        """Forget a trial that has its outcome."""
        ...

    def waits(self, number: int) -> None:
        """Take back a trial that stands at a rung."""
        ...


def task_for(trial: TrialResult, record: StudyRecord, space: SearchSpace) -> TrialTask:
    """Return what a worker is given to train a trial, with what the record knows of its student."""
    known = _known(record, trial.architecture)
    exits = map(space.describe, space.siblings(trial.params))
    return TrialTask(
        number=trial.number,
        params=dict(trial.params),
        protected=trial.label is not None or not trial.searched,
        model=known.get("model"),
        latency=known.get("latency"),
        known_exits={name: found for name in exits if (found := _known(record, name))},
        run=trial.run,
        epochs_known=trial.epochs_done,
    )


def _known(record: StudyRecord, architecture: str) -> dict[str, Any]:
    """One latency an architecture: whoever measured it first measured it for all."""
    known = record.known_student(architecture)
    if known is None:
        return {}
    return {"model": known[0].to_json(), "latency": known[1].to_json()}
