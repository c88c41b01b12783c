"""What happens to trials in Ray, written to the record first, then shown in MLflow and terminal."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ray.tune import Callback

from analysis.results import (
    EpochResult,
    Latency,
    ModelSize,
    Outcome,
    OutcomeStatus,
    TrialResult,
    device_seconds,
    searched,
    trained_alone,
    trial_name,
)
from study.constraints import Constraints
from study.death import death_of, error_of
from study.failures import is_fine_so_far, too_many_failed
from study.halting import Halted, disk_full, halted_by, then_resume
from study.mirror import mirror_of
from study.record import StudyRecord
from study.retention import Contenders, prune
from study.running import Running
from study.stateless import StatelessForRay
from study.tracking.facts import final_metrics, trial_facts
from study.trial_attributes import now
from study.trial_context import NESTED, STUDENT_FILE, trial_folder
from study.trial_exits import exit_file

if TYPE_CHECKING:
    from study.guide import Guide
    from study.handing_out import Queue
    from study.progress import Progress
    from study.scheduler import Stopped
    from study.tracking.tracker import Tracker

# Why a trial that stood at a rung when its study ended is not complete.
WAITED = "others promised to add more to the front"
# A driver that is killed forgets at most so much of a trial's device time.
_NOTE_USAGE_SECONDS = 15.0


@dataclass(frozen=True)
class Limits:
    """What a study puts up with.

    Attributes:
        max_failures: Share of the trials that may fail, of those that tell.
        fine_from: As :func:`study.failures.fine_from`.
        retries: How often a trial whose worker died goes on from its last checkpoint.
        devices: GPUs (CPUs, without any) that a trial holds, for its device time.
        constraints: What it asks of students.
    """

    max_failures: float = 0.5
    retries: int = 2
    devices: float = 1.0
    fine_from: int | None = None
    constraints: Constraints = field(default_factory=Constraints)


class Recorder(StatelessForRay, Callback):
    """Writes every report and every end of a trial, exactly once, into the record.

    Ray isolates no callback and swallows some of their errors, so an error of the record (a full
    disk) is kept in :attr:`fatal`, and asks the study to stop. Retries are decided here and not by
    Ray, which forgets them with each run of the driver and takes every death for alike.

    Args:
        record: The study's record.
        tracker: The MLflow view.
        progress: The terminal's view.
        stops: Why the scheduler stopped trials, by number.
        queue: Takes back trials whose worker died.
        limits: What the study puts up with.
        paused: Numbers of trials that gave their worker back to wait; each is taken out once heard.
        spare: How many may be ahead of a student that is kept, as :func:`students_to_keep`.
        guide: Says why trials wait, and which of too many is given up.
        lost: Set once another driver has taken the study over: nothing is written any more.

    Attributes:
        device_seconds: For which devices were held, over all runs of the driver.
        fatal: An error of the record.
        cut: Whether any trial was ended that might have gone on, for want of time.
    """

    def __init__(
        self,
        record: StudyRecord,
        tracker: "Tracker",
        progress: "Progress",
        stops: "Mapping[int, Stopped]",
        queue: "Queue",
        limits: Limits,
        paused: set[int] | None = None,
        spare: int = 0,
        guide: "Guide | None" = None,
        lost: threading.Event | None = None,
    ) -> None:
        self._guide, self._lost = guide, lost
        self._paused = set() if paused is None else paused
        self._record = record
        self._tracker = tracker
        self._progress = progress
        self._stops = stops
        self._queue = queue
        self._limits = limits
        self._running: dict[int, Running] = {}
        trials = record.trials()
        ended = [trial.status for trial in trained_alone(trials) if trial.status != "running"]
        self._ended: Counter[str] = Counter(ended)
        self._fine = {
            trial.number
            for trial in trained_alone(trials)
            if is_fine_so_far(trial, limits.fine_from)
        }
        own = searched(trained_alone(trials))
        self._found = sum(1 for trial in own if trial.status != "running")
        self._contenders = Contenders(trials, record.third, spare=spare)
        self.device_seconds = device_seconds(trials)
        self.fatal: Exception | None = None
        self.cut = False

    # Ray's events

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A trial got its worker."""
        number = int(trial.config["number"])
        if number not in self._running:
            self.guard(lambda: self._start(number))

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial reported."""
        self.guard(lambda: self._report(int(trial.config["number"]), result))

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A trial ended by itself, or was stopped by the scheduler, for good or to wait."""
        number = int(trial.config["number"])
        if number in self._paused:
            self._paused.discard(number)
            self.guard(lambda: self._wait(number))
        else:
            self.guard(lambda: self._end(number))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A trial's worker died."""
        number, error = int(trial.config["number"]), error_of(trial)
        self.guard(lambda: self._lose(number, error))

    # The study's own

    def close(self, reason: str | None) -> None:
        """End what is still open after Ray has returned.

        Args:
            reason: Why running trials were stopped, for good; None leaves them open, to be
                continued by the next run.
        """
        if self._lost is not None and self._lost.is_set():
            self._running.clear()
            return
        if reason is None:
            for number in sorted(self._running):
                self.guard(partial(self._count, number))
                self._tracker.trial_finished(number, "interrupted", "the study was stopped", {})
        else:
            waits: dict[int, str] = {}
            if self._guide is not None:
                self.guard(lambda: waits.update(self._why_they_wait()))
            trained = self._queue.trained
            # Also those that Ray had queued, and not started yet.
            for number in self._record.interrupted():
                # What it has learnt is there for the next run of the driver; and what another
                # queue hands out is left to that.
                if number in trained or not self._queue.owns(self._trial(number)):
                    continue
                why = waits.get(number)
                if why is not None and reason != WAITED:
                    why = f"{reason}; {why}"
                self.cut = self.cut or reason != WAITED
                self.guard(partial(self._close_for_good, number, why or reason))
        self._running.clear()

    def bound_waiting(self) -> None:
        """Give up who promises least of those that wait, while they are too many."""
        while self._guide is not None:
            found = self._guide.surplus(self._record.trials(), self._queue.handed_out)
            if found is None:
                return
            self._close_for_good(*found)

    def _why_they_wait(self) -> dict[int, str]:
        assert self._guide is not None
        return self._guide.why_they_wait(self._record.trials(), self._running)

    def guard(self, write: Callable[[], None]) -> None:
        """Write to the record; an error becomes :attr:`fatal`."""
        if isinstance(self.fatal, Halted) or (self._lost is not None and self._lost.is_set()):
            return  # nothing more can be written, or may be
        try:
            write()
        except Exception as error:
            self.fatal = self.fatal or halted_by(error, self._record.folder) or error

    def too_many_failures(self) -> bool:
        """Whether more trials failed than may."""
        failed, counted = self._ended["failed"], sum(self._ended.values()) + len(self._fine)
        return too_many_failed(failed, counted, self._limits.max_failures)

    def _start(self, number: int) -> None:
        if self._trial(number).waits_at is not None:
            self._record.waits(number, None)
        trial = self._trial(number)
        self._running[number] = Running.from_now(trial.usage)
        facts = trial_facts(trial)
        self._tracker.trial_started(
            number, facts.name, facts.params, facts.tags, run_id=trial.mlflow_run_id
        )
        for epoch in trial.curve:
            self._tracker.epoch(number, epoch.to_json())
        self._progress.trial_started(trial)

    def _report(self, number: int, result: Mapping[str, Any]) -> None:
        running = self._running[number]
        (nested,) = result.get(NESTED, ({},))
        result = {**result, **nested}
        if "model" in result:
            model, latency = result["model"], result["latency"]
            self._record.measured(number, ModelSize.from_json(model), Latency.from_json(latency))
        # Before the last epoch: a trial that has done all its epochs has all its exits on record.
        for body in result.get("exits", ()):
            self._add_exit(number, body)
        for body in result.get("curve", ()):
            self._record.epoch(number, EpochResult.from_json(body))
            self._tracker.epoch(number, body)
        for key in ("failure", "diverged", "infeasible", "disk_full", "store_gone"):
            if key in result:
                running.facts[key] = result[key]
        if "spent" in result:
            running.add(result["spent"])
        if "together" in result:
            running.usage = replace(running.usage, runs=result["together"]["runs"])
            self._queue.trains_together(number, running.usage.runs)
            self._progress.say(f"{trial_name(number)}: {result['together']['told']}", fold=True)
        due = "together" in result or time.monotonic() - running.noted > _NOTE_USAGE_SECONDS
        self._count(number, write=due)
        trial = self._trial(number)
        if is_fine_so_far(trial, self._limits.fine_from):
            self._fine.add(number)
        self._progress.trial_reported(trial)

    def _add_exit(self, number: int, body: Mapping[str, Any]) -> None:
        """Add another exit of a trial's student, unless an earlier driver has, and take its file.

        The file comes after the record: until the trial itself has ended, its worker would leave
        the file once more for the next driver.
        """
        added, first = self._record.exit_of(number, body["exit"]), self._trial(number).replicate_of
        if first is not None and self._record.exit_of(first, body["exit"]) is None:
            return  # of a first run that has failed, and there is nothing to be a further run of
        if added is None:
            model, latency = ModelSize.from_json(body["model"]), Latency.from_json(body["latency"])
            curve = [EpochResult.from_json(epoch) for epoch in body["curve"]]
            score, constraints = curve[-1].val_score, self._limits.constraints
            too_poor = constraints.too_poor(score)
            kept = not self._trial(number).searched
            added = self._record.add_exit(
                number,
                body["exit"],
                architecture=body["architecture"],
                model=model,
                latency=latency,
                curve=curve,
                refusal=body["infeasible"] or (None if kept else too_poor),
                breaks=too_poor if kept else None,
                violations=constraints.violations(
                    self._record.search_latency_ms(latency), model.params_m, score
                ),
            )
            trial = self._trial(added)
            self._contenders.add(trial)
            self._tracker.trial_replayed(trial)
            self._progress.exit_added(trial)
        left = exit_file(trial_folder(self._record.folder, number), body["exit"])
        mirror = mirror_of(self._record.folder.parent)
        if mirror is not None:
            mirror.bring(left)
        if left.exists():
            own = trial_folder(self._record.folder, added)
            own.mkdir(parents=True, exist_ok=True)
            left.replace(own / STUDENT_FILE)
            if mirror is not None:
                mirror.send(own / STUDENT_FILE)
                mirror.remove([mirror.key(left)])

    def _count(self, number: int, *, retries: int = 0, write: bool = True) -> None:
        """Count the device time since the last count, and any retries; put them into the record."""
        running = self._running.get(number)
        if running is None:
            return
        self.device_seconds += running.count(self._limits.devices, retries)
        if write:
            running.noted = running.since
            self._record.use(number, running.usage)

    def _lose(self, number: int, error: BaseException | None) -> None:
        """Hand a trial out again whose worker died, as often as it may be; else end it."""
        if number not in self._running:
            # A worker that dies while it starts is heard of here first.
            self._running[number] = Running.from_now(self._trial(number).usage)
        running, death = self._running[number], death_of(error)
        # That a node is no good is found out by those who come there first: no fault of theirs.
        is_news = death.whole_node and not self._queue.kept_off(number, death.node)
        # Nor that its worker needed too much memory for several runs at once.
        is_news = is_news or (not death.retry and running.usage.runs > 1)
        if not death.retry and not is_news:
            self._count(number)
            running.facts["infeasible"] = death.reason
        elif is_news or running.usage.retries < self._limits.retries:
            running.usage = replace(running.usage, runs=1)
            self._count(number, retries=0 if is_news else 1)
            del self._running[number]
            self._queue.again(number, death.node, whole_node=death.whole_node)
            self._progress.trial_lost(self._trial(number), death.reason, self._limits.retries)
            return
        else:
            self._count(number)
            times = running.usage.retries + 1
            running.facts["failure"] = death.reason + (f" ({times} times)" if times > 1 else "")
        self._end(number)

    def _wait(self, number: int) -> None:
        """Note that a trial has given its worker back, and may go on."""
        self._count(number)
        self._running.pop(number, None)
        self._record.waits(number, self._trial(number).epochs_done)
        self._queue.waits(number)
        self._progress.trial_reported(self._trial(number))
        self.bound_waiting()

    def _close_for_good(self, number: int, reason: str) -> None:
        opened = number in self._running
        if not opened:
            self._running[number] = Running.from_now(self._trial(number).usage)
        else:
            self._count(number)
        self._running[number].facts["stopped"] = reason
        if not opened and self._guide is not None and self._guide.waits(self._trial(number)):
            self._running[number].facts["waited"] = reason
        self._end(number)
        if not opened:
            # Its run in MLflow may be one that an earlier driver left open.
            self._tracker.trial_replayed(self._trial(number))

    def _end(self, number: int) -> None:
        running = self._running.pop(number, None)
        if running is None:
            return
        if "disk_full" in running.facts:
            # Not the trial's fault: it is left to be continued once there is room.
            raise Halted(disk_full(self._record.folder, running.facts["disk_full"]))
        if "store_gone" in running.facts:
            raise Halted(then_resume(running.facts["store_gone"], self._record.folder))
        self._record.use(number, running.usage)
        trial = self._trial(number)
        outcome = self._outcome(trial, running.facts)
        self._record.finish(number, outcome, self._violations(trial, outcome))
        unwanted = self._queue.ended(number)
        self._fine.discard(number)
        self._ended[outcome.status] += 1
        trials = self._record.trials()
        trial = trials[number]
        self._tracker.trial_finished(number, outcome.status, outcome.reason, final_metrics(trial))
        self._progress.trial_finished(trial)
        self._contenders.add(trial)
        prune(self._record.folder, trials, self._contenders.numbers)
        if trial.searched:
            self._found += 1
            covered = self._record.hypervolume(searched(self._contenders.trials))
            self._tracker.study_progress(self._found, {"hypervolume": covered})
        for other in unwanted:
            self._close_for_good(other, f"its first run, {trial.name}, is {outcome.status}")

    def _outcome(self, trial: TrialResult, facts: Mapping[str, str]) -> Outcome:
        status, reason = self._verdict(trial, facts)
        stop = self._stops.get(trial.number) if status == "stopped" else None
        waited = trial.epochs_done if "waited" in facts else None
        return Outcome(
            status=status,
            reason=reason,
            epochs_done=trial.epochs_done,
            val_score=trial.val_score,
            latency_ms=trial.search_latency_ms,
            train_seconds=sum(epoch.seconds for epoch in trial.curve),
            finished_at=now(),
            rung=waited if stop is None else stop.rung,
            breaks=self._limits.constraints.too_poor(trial.val_score)
            if status == "complete"
            else None,
            diverged="diverged" in facts,
        )

    def _violations(self, trial: TrialResult, outcome: Outcome) -> Mapping[str, float]:
        size = None if trial.model is None else trial.model.params_m
        whole = trial.epochs_done >= trial.epochs
        score = outcome.val_score if whole else None
        return self._limits.constraints.violations(outcome.latency_ms, size, score)

    def _verdict(
        self, trial: TrialResult, facts: Mapping[str, str]
    ) -> tuple[OutcomeStatus, str | None]:
        if "failure" in facts:
            return "failed", facts["failure"]
        if "infeasible" in facts:
            return "infeasible", facts["infeasible"]
        if trial.number in self._stops:
            return "stopped", self._stops[trial.number].reason
        if trial.epochs_done >= trial.epochs:
            too_poor = self._limits.constraints.too_poor(trial.val_score)
            # Whoever is there to be compared with is complete all the same: see `Constraints`.
            kept = trial.label is not None or not trial.searched
            return ("complete", None) if kept or too_poor is None else ("infeasible", too_poor)
        cause = facts.get("stopped", "stopped by the cluster")
        return "stopped", cause if trial.curve else f"{cause}, before its first epoch"

    def _trial(self, number: int) -> TrialResult:
        return self._record.trial(number)
