"""What hands trials out to workers: what is asked of it, and how a trial becomes a task."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from analysis.results import TrialResult
from search_spaces.space import SearchSpace
from study.record import StudyRecord
from study.trial_context import TrialTask


class Queue(ABC):
    """Says which trial is next; the search and the further runs after it have one each.

    Args:
        record: The study's record.
        space: The space, with ``--fix`` applied.
        enough: Says whether no further trial is to be started (budget, signal, failures).

    Attributes:
        exhausted: Why there is no configuration left to try, in a clause; empty where there is.
        out_of_time: What is left of the budget would end no further training.
    """

    exhausted = ""
    out_of_time = False

    def __init__(self, record: StudyRecord, space: SearchSpace, enough: Callable[[], bool]) -> None:
        self._record = record
        self._space = space
        self._enough = enough
        # What an earlier driver left open, what comes back as its worker died, and what waits for
        # another worker to time the same student.
        self._interrupted = [n for n in record.interrupted() if self.owns(record.trial(n))]
        self._handed_out: set[int] = set()
        # Those that wait for a trial's worker to train them with it, by the trial's number.
        self._held: dict[int, list[int]] = {}
        # Nodes to be kept off: by all trials, and by one whose worker was unfit there.
        self._no_good: set[str] = set()
        self._told_off: dict[int, frozenset[str]] = {}
        self._unfit_for: dict[int, set[str]] = {}

    @abstractmethod
    def next_task(self) -> TrialTask | None:
        """Return the next trial to run, added to the record; None when there is none."""

    @abstractmethod
    def owns(self, trial: TrialResult) -> bool:
        """Whether a trial is one of those that are handed out here; asked before all is set up."""

    @property
    def may_grow(self) -> bool:
        """Whether a trial that is out may come back, or tell what is next, when nothing is now."""
        return bool(self._handed_out) and not self._enough()

    @property
    def handed_out(self) -> frozenset[int]:
        """Numbers of the trials that are being trained, or are about to be."""
        return frozenset(self._handed_out)

    @property
    def trained(self) -> frozenset[int]:
        """Numbers of the open trials that another's worker has trained to their end.

        The record tells it, so that it holds for another run of the driver too: those that a worker
        trained with a trial, as one, were begun right after it.
        """
        trials = self._record.trials()
        return frozenset(
            number
            for trial in trials
            if trial.status == "complete"
            for number in range(trial.number + 1, trial.number + trial.usage.runs)
            if trials[number].status == "running"
        )

    @property
    def no_good(self) -> frozenset[str]:
        """Nodes on which no trial is to be tried, by Ray's names."""
        return frozenset(self._no_good)

    def kept_off(self, number: int, node: str) -> bool:
        """Whether a trial was handed out not to be trained on a node."""
        return node in self._told_off.get(number, ())

    def again(self, number: int, node: str = "", *, whole_node: bool = False) -> None:
        """Take back a trial whose worker died.

        Args:
            number: The trial's.
            node: Where it is not to be tried again, if anywhere.
            whole_node: Whether no other trial is to be either.
        """
        if node:
            avoided = self._no_good if whole_node else self._unfit_for.setdefault(number, set())
            avoided.add(node)
        self._handed_out.discard(number)
        self._interrupted.append(number)
        self._let_go(number)

    def ended(self, number: int) -> Sequence[int]:
        """Forget a trial that has its outcome; its partners are next.

        Returns:
            Those of them that nobody wants any more: further runs of one whose first has failed.
        """
        self._handed_out.discard(number)
        trial = self._record.trial(number)
        if trial.run == 0 and trial.status in ("failed", "infeasible"):
            return self._held.pop(number, [])
        self._let_go(number)
        return []

    def waits(self, number: int) -> None:
        """Take back a trial that stands at a rung."""
        self._handed_out.discard(number)

    def trains_together(self, number: int, runs: int) -> None:
        """Hear how many of the runs that a trial was handed out with its worker trains as one."""
        if runs == 1:
            self._let_go(number)

    def _let_go(self, number: int) -> None:
        """Have the partners of a trial handed out, if they still wait for it."""
        self._interrupted += self._held.pop(number, [])

    def _hand_out_open(self) -> TrialTask | None:
        """Hand out the first of the trials left open; None while all wait for a latency."""
        for number in self._interrupted:
            trial = self._record.trial(number)
            if not self._is_being_timed(trial.architecture):
                self._interrupted.remove(number)
                return self._hand_out(trial)
        return None

    def _hand_out_new(self, number: int) -> TrialTask | None:
        """Hand out a trial just added, unless its student is being timed: then it is left open."""
        trial = self._record.trial(number)
        if self._is_being_timed(trial.architecture):
            self._interrupted.append(number)
            return None
        return self._hand_out(trial)

    def _is_being_timed(self, architecture: str) -> bool:
        """Whether another worker times this student, or is about to: no network is timed twice."""
        if self._record.known_student(architecture) is not None:
            return False
        out = (self._record.trial(number) for number in self._handed_out)
        return any(trial.architecture == architecture for trial in out)

    def _hand_out(self, trial: TrialResult) -> TrialTask:
        if trial.number in self._handed_out:
            raise AssertionError(f"{trial.name} is being trained already")
        self._handed_out.add(trial.number)
        avoided = frozenset(self._no_good | self._unfit_for.get(trial.number, set()))
        self._told_off[trial.number] = avoided
        task = task_for(trial, self._record, self._space)
        return replace(task, avoided=tuple(sorted(avoided)))


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
