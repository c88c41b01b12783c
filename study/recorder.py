"""What happens to trials in Ray, written to the record first, then shown in MLflow and terminal."""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune import Callback

from analysis.results import (
    EpochResult,
    Latency,
    ModelSize,
    Outcome,
    OutcomeStatus,
    TrialResult,
)
from study.record import StudyRecord, now
from study.stateless import StatelessForRay
from study.trial import CHECKPOINT_FILE, trial_folder

if TYPE_CHECKING:
    from study.progress import Progress
    from study.scheduler import Stop
    from study.tracking import Tracker

# Fewer ended trials than this say nothing about the share that fails.
_FEWEST_ENDED = 4


class Recorder(StatelessForRay, Callback):
    """Writes every report and every end of a trial, exactly once, into the record.

    Ray isolates no callback and swallows some of their errors, so an error of the record (a full
    disk) is kept in :attr:`fatal`, and asks the study to stop.

    Args:
        record: The study's record.
        tracker: The MLflow view.
        progress: The terminal's view.
        stops: Why the scheduler stopped trials, by number.
        max_failures: Share of ended trials that may fail.
    """

    def __init__(
        self,
        record: StudyRecord,
        tracker: "Tracker",
        progress: "Progress",
        stops: "Mapping[int, Stop]",
        max_failures: float,
    ) -> None:
        self._record = record
        self._tracker = tracker
        self._progress = progress
        self._stops = stops
        self._max_failures = max_failures
        self._open: dict[int, dict[str, Any]] = {}
        self._ended: Counter[str] = Counter(
            trial.status for trial in record.trials() if trial.status != "running"
        )
        self.fatal: Exception | None = None

    # Ray's events

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A trial got its worker, for the first time or again after its worker died."""
        number = int(trial.config["number"])
        if number in self._open:
            return
        self._open[number] = {}
        self._guard(lambda: self._announce(number))

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial reported."""
        self._guard(lambda: self._report(int(trial.config["number"]), result))

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A trial ended by itself, or was stopped by the scheduler."""
        self._guard(lambda: self._end(int(trial.config["number"])))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A trial's worker died more often than it may be retried, or raised."""
        number = int(trial.config["number"])
        # A worker that dies while it starts is heard of here first.
        state = self._open.setdefault(number, {})
        state["failure"] = f"worker died: {_last_line(trial.get_error())}"
        self._guard(lambda: self._end(number))

    # The study's own

    def close(self, reason: str | None) -> None:
        """End what is still open after Ray has returned.

        Args:
            reason: Why running trials were stopped, for good; None leaves them open, to be
                continued by the next run.
        """
        if reason is None:
            for number in sorted(self._open):
                self._tracker.trial_finished(number, "interrupted", "the study was stopped", {})
        else:
            # Also those that Ray had queued, and not started yet.
            for number in self._record.interrupted():
                self._open.setdefault(number, {})["stopped"] = reason
                self._guard(lambda number=number: self._end(number))
        self._open.clear()

    def too_many_failures(self) -> bool:
        """Whether more trials failed than may."""
        ended = sum(self._ended.values())
        return ended >= _FEWEST_ENDED and self._ended["failed"] > self._max_failures * ended

    def _guard(self, write: Any) -> None:
        try:
            write()
        except Exception as error:
            self.fatal = self.fatal or error

    def _announce(self, number: int) -> None:
        trial = self._trial(number)
        name = f"{trial.name} {trial.architecture}{_terms(trial.params)}"
        tags = {"source": trial.source, "architecture": trial.architecture}
        if trial.label:
            tags["preset"] = trial.label
        params = {key: str(value) for key, value in trial.params.items()}
        self._tracker.trial_started(number, name, params, tags, run_id=trial.mlflow_run_id)
        for epoch in trial.curve:
            self._tracker.epoch(number, epoch.to_json())
        self._progress.trial_started(trial)

    def _report(self, number: int, result: Mapping[str, Any]) -> None:
        state = self._open[number]
        if "model" in result:
            model, latency = result["model"], result["latency"]
            self._record.measured(number, ModelSize.from_json(model), Latency.from_json(latency))
        for body in result.get("curve", ()):
            self._record.epoch(number, EpochResult.from_json(body))
            self._tracker.epoch(number, body)
        for key in ("failure", "infeasible"):
            if key in result:
                state[key] = result[key]
        self._progress.trial_reported(self._trial(number))

    def _end(self, number: int) -> None:
        state = self._open.pop(number, None)
        if state is None:
            return
        trial = self._trial(number)
        outcome = self._outcome(trial, state)
        self._record.finish(number, outcome)
        self._ended[outcome.status] += 1
        trial = self._trial(number)
        self._tracker.trial_finished(number, outcome.status, outcome.reason, final_metrics(trial))
        self._progress.trial_finished(trial)
        self._drop_files(trial)
        covered = {"hypervolume": self._record.hypervolume()}
        self._tracker.study_progress(sum(self._ended.values()), covered)

    def _outcome(self, trial: TrialResult, state: Mapping[str, Any]) -> Outcome:
        status, reason = self._verdict(trial, state)
        stop = self._stops.get(trial.number) if status == "stopped" else None
        return Outcome(
            status=status,
            reason=reason,
            epochs_done=trial.epochs_done,
            val_accuracy=trial.val_accuracy,
            latency_ms=trial.search_latency_ms,
            train_seconds=sum(epoch.seconds for epoch in trial.curve),
            finished_at=now(),
            rung=None if stop is None else stop.rung,
        )

    def _verdict(
        self, trial: TrialResult, state: Mapping[str, Any]
    ) -> tuple[OutcomeStatus, str | None]:
        if "failure" in state:
            return "failed", state["failure"]
        if "infeasible" in state:
            return "infeasible", state["infeasible"]
        if trial.number in self._stops:
            return "stopped", self._stops[trial.number].reason
        if trial.epochs_done >= trial.epochs:
            return "complete", None
        cause = state.get("stopped", "stopped by the cluster")
        return "stopped", cause if trial.curve else f"{cause}, before its first epoch"

    def _drop_files(self, trial: TrialResult) -> None:
        folder = trial_folder(self._record.folder, trial.number)
        if trial.status != "complete":
            shutil.rmtree(folder, ignore_errors=True)
            return
        for path in _checkpoints(folder):
            path.unlink(missing_ok=True)

    def _trial(self, number: int) -> TrialResult:
        return self._record.trial(number)


def final_metrics(trial: TrialResult) -> dict[str, float]:
    """Return the figures a finished trial is compared by."""
    figures: dict[str, float | None] = {
        "val_accuracy": trial.val_accuracy,
        "latency_ms": trial.latency_ms,
        "train_seconds": trial.train_seconds,
        "epochs_done": float(trial.epochs_done),
    }
    latency = trial.confirmed.latency if trial.confirmed else trial.latency
    if latency is not None:
        figures["latency_ratio"] = latency.ratio_batch_1.median
    if trial.model is not None:
        figures["params_m"] = trial.model.params_m
        figures["flops_m"] = trial.model.flops_m
    if trial.confirmed is not None:
        figures["test_accuracy"] = trial.confirmed.test_accuracy
    return {key: value for key, value in figures.items() if value is not None}


def _terms(params: Mapping[str, Any]) -> str:
    named = (("T", "temperature"), ("alpha", "alpha"))
    return "".join(f" {short}={params[name]:.3g}" for short, name in named if name in params)


def _checkpoints(folder: Path) -> Iterable[Path]:
    return folder.glob(f"{CHECKPOINT_FILE}*")


def _last_line(error: BaseException | None) -> str:
    """The end of Ray's long accounts, where the cause is."""
    lines = [line.strip() for line in str(error or "").splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
