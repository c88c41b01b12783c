"""One trial on a worker: build the student, measure it, refuse or teach it, one epoch a step."""

import logging
import platform
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import get_runtime_context
from ray.tune import Trainable

from analysis.formatting import decimals_apart
from analysis.results import PLAN_FILE, EpochResult, Latency, ModelSize
from cluster.kinds import wrong_device
from cluster.shared_folder import usable
from study.death import OUT_OF_MEMORY, UnfitWorker, cut_off, described
from study.distillation.phases import PhaseClock
from study.fusing import FusedRuns, NotFused, fuse, give_memory_back, why_not
from study.halting import full_elsewhere, is_disk_full
from study.object_store import StoreError
from study.student import build_student, measure_beside_others, pin_threads
from study.task import task_of
from study.trial_context import (
    CHECKPOINT_FILE,
    NESTED,
    STUDENT_FILE,
    TrialContext,
    TrialTask,
    trial_folder,
)

if TYPE_CHECKING:
    import torch

    from study.distillation.checkpoint_writer import CheckpointWriter
    from study.distillation.trainer import EpochTrainer

logger = logging.getLogger(__name__)

# The clock's word for all that a trainer does in an epoch, which has a clock of its own.
_TRAINING = "training"


@dataclass
class StudentTrial:
    """A trial without Ray: each :meth:`advance` is one report.

    The first report holds the student's size and latency, before anything is trained, and the
    curve of an interrupted trial; each later one an epoch. A report with ``done`` is the last,
    and tells of the student's other exits, if it has some;
    with ``failure``, ``infeasible``, ``disk_full`` or ``store_gone`` it says why nothing more
    follows: of a full disk the file that it had no room for, or nothing where that is the study's.
    ``together`` says how many of the runs that it was handed out with are trained as one, or why
    they are not. ``spent`` is where the worker's time since the last report went.

    ``handover`` is how long the worker stood idle before the trial (s).
    """

    task: TrialTask
    context: TrialContext
    handover: float = 0.0
    _clock: PhaseClock = field(default_factory=lambda: PhaseClock("build"))
    _trainer: "EpochTrainer | FusedRuns | None" = None
    _fused: FusedRuns | None = None
    _writer: "CheckpointWriter | None" = None
    _latency_ms: float = float("nan")
    _curve: list[EpochResult] = field(default_factory=list)
    # Of every exit of a student that has several, after each epoch: loss and score.
    _exit_scores: list[list[list[float]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """See the study's context as the trial's run does."""
        self.context = self.context.of_run(self.task.run)

    def advance(self) -> dict[str, Any]:
        """Do the next step and report it; failures of the trial are reported, not raised.

        Raises:
            UnfitWorker: if it is the worker's, which is not to be given another trial.
        """
        from study.distillation.checkpoint import out_of_reach
        from study.distillation.runtime import ServingError
        from study.distillation.training import Diverged

        try:
            if self._trainer is None:
                self._clock.enter("build")
                return self._prepare()
            return self._epoch(self._trainer)
        except Diverged as error:
            return self._report(done=True, failure=str(error).splitlines()[0], diverged="yes")
        except ServingError as error:
            return self._report(done=True, infeasible=str(error))
        except UnfitWorker:
            raise
        except Exception as error:
            if is_disk_full(error):
                elsewhere = full_elsewhere(error, self.context.place)
                return self._report(done=True, disk_full=elsewhere or "")
            if isinstance(error, StoreError):
                return self._report(done=True, store_gone=str(error))
            if out_of_reach(error):
                raise cut_off(error) from error
            if self._fused is not None and not _lost_the_gpu(error):
                return self._go_on_alone(error)
            if _out_of_memory(error):
                return self._report(done=True, infeasible=f"{OUT_OF_MEMORY}: {described(error)}")
            logger.exception("trial %d failed", self.task.number)
            if _lost_the_gpu(error):
                raise UnfitWorker(described(error)) from error
            return self._report(done=True, failure=described(error))

    def _prepare(self) -> dict[str, Any]:
        import torch

        if elsewhere := other_device(self.context) or folder_missing(self.context):
            raise UnfitWorker(elsewhere, whole_node=True)
        student = build_student(self.context, self.task.params)
        model, latency = self._measure(student)
        self._latency_ms = latency.search_latency_ms(self.context.teacher_ms)
        facts: dict[str, Any] = {"model": model.to_json(), "latency": latency.to_json()}
        problem = refusal(self.context, model, self._latency_ms)
        if problem:
            return self._report(done=True, infeasible=problem, **facts)
        if self.task.partners:
            facts["together"] = self._fuse(student)
            student = build_student(self.context, self.task.params)
        if self._fused is not None:
            return self._report(done=False, curve=[], **facts)
        # The generator that built the network has moved on by a number of draws that depends on
        # whether latency was measured here: start the training from a known state.
        torch.manual_seed(self.context.run_seed)
        self._trainer = self._make_trainer(student)
        self._resume(self._trainer)
        done = self._trainer.epochs_done >= self._epochs
        if done:
            facts |= self._keep_student(self._trainer)
        return self._report(done=done, curve=[e.to_json() for e in self._curve], **facts)

    def _fuse(self, student: "torch.nn.Module") -> dict[str, Any]:
        """Train the trial's partners with it, where that can be done and is faster."""
        made = fuse(student, self.task, self.context, self._epochs)
        if isinstance(made, NotFused):
            return _one_by_one(made.because)
        self._trainer = self._fused = made
        return {"runs": made.runs, "told": made.told}

    def _go_on_alone(self, error: Exception) -> dict[str, Any]:
        """Go on by itself from the last checkpoint, after what it may not meet by itself."""
        self.close()
        self._trainer = self._fused = None
        self._curve.clear()
        self.task = replace(self.task, partners=())
        return self._report(done=False, together=_one_by_one(why_not(error)))

    def _epoch(self, trainer: "EpochTrainer | FusedRuns") -> dict[str, Any]:
        writer = self._checkpoints
        self._clock.enter("checkpoint")
        self._wait_for_files()
        self._clock.enter(_TRAINING)
        epoch = EpochResult(**asdict(trainer.run_epoch()))
        self._clock.enter("checkpoint")
        self._curve.append(epoch)
        if trainer.exit_scores:
            self._exit_scores.append([list(scores) for scores in trainer.exit_scores])
        done = trainer.epochs_done >= self._epochs
        began = time.perf_counter()
        if writer.due(epoch.seconds) or done:
            writer.write(self._state(trainer), began)
            if self._fused is not None:
                self._fused.write(began)
        if done or self.context.every_epoch:
            # Another worker may go on as soon as the driver hears of this epoch; and a driver that
            # dies before it hears of the last finds the trial finished, not to be trained again.
            self._wait_for_files()
        facts = self._keep_student(trainer) if done else {}
        return self._report(done=done, curve=[epoch.to_json()], **facts)

    def close(self) -> None:
        """Leave nothing at work: what is being written is written to its end.

        Should that fail, the trial has ended without it, or goes on from the epoch before.
        """
        for writes in self._writing:
            try:
                writes.wait()
            except Exception:  # the next trial of this worker has no part in it
                logger.exception("trial %d: a last checkpoint was not written", self.task.number)

    def _wait_for_files(self) -> None:
        """Wait until the checkpoints of the last epoch written are on the disk."""
        for writes in self._writing:
            writes.wait()

    @property
    def _writing(self) -> "list[CheckpointWriter | FusedRuns]":
        """Who may be writing: the trial's own checkpoint, and its partners'."""
        return [writes for writes in (self._writer, self._fused) if writes is not None]

    @property
    def _checkpoints(self) -> "CheckpointWriter":
        if self._writer is None:
            from study.distillation.checkpoint_writer import CheckpointWriter

            path = self._folder / CHECKPOINT_FILE
            mirror = self.context.mirror
            self._writer = CheckpointWriter(
                path,
                every_epoch=self.context.every_epoch,
                then=None if mirror is None else mirror.send,
            )
        return self._writer

    def _state(self, trainer: "EpochTrainer | FusedRuns") -> dict[str, Any]:
        return {
            "trainer": trainer.state(),
            "curve": [epoch.to_json() for epoch in self._curve],
            "exit_scores": list(self._exit_scores),
        }

    def _report(self, *, done: bool, **facts: Any) -> dict[str, Any]:
        last = self._curve[-1] if self._curve else None
        return {
            "number": self.task.number,
            "epoch": last.epoch if last else 0,
            "val_score": last.val_score if last else float("nan"),
            "latency_ms": self._latency_ms,
            "done": done,
            "spent": self._spent(),
            **facts,
        }

    def _spent(self) -> dict[str, float]:
        """Seconds of each phase since the last report; from here on the driver is waited for."""
        self._clock.enter("waiting")
        spent = self._clock.take()
        # The trainer tells apart what this is made up of.
        spent.pop(_TRAINING, None)
        handover, self.handover = self.handover, 0.0
        return {**spent, **(self._trainer.spent() if self._trainer else {}), "handover": handover}

    def _measure(self, student: "torch.nn.Module") -> tuple[ModelSize, Latency]:
        if self.task.model is not None and self.task.latency is not None:
            return ModelSize.from_json(self.task.model), Latency.from_json(self.task.latency)
        before = self._clock.enter("latency")
        measured = measure_beside_others(self.context, student)
        self._clock.enter(before)
        return measured

    def _make_trainer(self, student: "torch.nn.Module") -> "EpochTrainer":
        task = task_of(self.context.space)
        return task.trainer(student, self.task.params, self.context, self._epochs)

    def _resume(self, trainer: "EpochTrainer") -> None:
        from study.distillation import checkpoint

        path = self._folder / CHECKPOINT_FILE
        if self.context.mirror is not None:
            # Another machine may have gone on with it since it was here.
            checkpoint.previous_path(path).unlink(missing_ok=True)
            self.context.mirror.bring(path)
        checkpoint.sweep(path)
        try:
            state = checkpoint.load(path)
        except checkpoint.UnreadableError:
            raise  # to begin again would be to overwrite what may be whole
        except checkpoint.CheckpointError as error:
            # Nothing whole is left, or nothing was written yet: the trial starts again.
            if self.task.epochs_known:
                known = self.task.number, self.task.epochs_known, error
                logger.warning("trial %d begins again, with %d epochs on record: %s", *known)
            return
        trainer.load_state(state["trainer"])
        self._curve = [EpochResult.from_json(epoch) for epoch in state["curve"]]
        self._exit_scores = state.get("exit_scores", [])

    def _keep_student(self, trainer: "EpochTrainer | FusedRuns") -> dict[str, Any]:
        """Keep what is shipped of the finished student; returns what there is to say of it."""
        from study.distillation import checkpoint
        from study.distillation.deployment import kept
        from study.trial_exits import exit_file, exit_reports

        state = kept(trainer.student).state_dict()
        # Copied: the weights of a student that was fused with others are a part of theirs.
        weights = {name: value.to("cpu", copy=True) for name, value in state.items()}
        checkpoint.save(
            self._folder / STUDENT_FILE,
            {"params": dict(self.task.params), "weights": weights, "run": self.task.run},
            keep_previous=False,
        )
        others = exit_reports(
            self.context,
            self.task,
            trainer.student,
            self._curve,
            self._exit_scores,
            self._folder,
            self._clock,
        )
        if self.context.mirror is not None:
            for each in others:
                left = exit_file(self._folder, each["exit"])
                if left.exists():
                    self.context.mirror.send(left)
            # Last: a trial that has a student has all that it leaves.
            self.context.mirror.send(self._folder / STUDENT_FILE)
        return {"exits": others} if others else {}

    @property
    def _epochs(self) -> int:
        return self.context.space.epochs_of(self.task.params, self.context.epochs)

    @property
    def _folder(self) -> Path:
        return trial_folder(self.context.place, self.task.number)


def _one_by_one(because: str) -> dict[str, Any]:
    return {"runs": 1, "told": f"its runs are trained one by one: {because}"}


def other_device(context: TrialContext) -> str | None:
    """Say that a trial has come to a device of another kind than the study's, or nothing."""
    return wrong_device(context.device_kind, gpus=context.on_gpu)


def folder_missing(context: TrialContext) -> str | None:
    """Say that the study's folder is not here, where nobody would find what is written, or nothing.

    Nodes that join later are not asked whether they have it.
    """
    if not context.shared or usable(context.place / PLAN_FILE):
        return None
    return f"its node, {platform.node()}, does not have the folder {context.place}; mount it"


def refusal(context: TrialContext, model: ModelSize, latency_ms: float) -> str | None:
    """Say which constraint of the study a student breaks, or nothing."""
    most, limit = context.max_params_m, context.max_latency_ms
    if most is not None and model.params_m > most:
        found = f"{model.params_m:.{decimals_apart(model.params_m, most)}f}"
        return f"{found} M parameters, more than {most:g} M"
    if limit is not None and latency_ms > limit:
        found = f"{latency_ms:.{decimals_apart(latency_ms, limit)}f}"
        return f"latency {found} ms, more than {limit:g} ms"
    return None


def _out_of_memory(error: Exception) -> bool:
    from study.distillation.resident import ran_out_of_memory

    return ran_out_of_memory(error)


def _lost_the_gpu(error: Exception) -> bool:
    from study.distillation.resident import lost_the_gpu

    return lost_the_gpu(error)


def unnested(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report with its nested parts in a list; see :meth:`TrialTask.to_config`."""
    nested = {name: value for name, value in report.items() if isinstance(value, dict)}
    flat = {name: value for name, value in report.items() if name not in nested}
    return {**flat, NESTED: [nested]}


class StudentTrainable(Trainable):
    """Ray's view of a trial. Its actor is reused for the next trial; nothing is left behind."""

    def setup(self, config: dict[str, Any], context: TrialContext | None = None) -> None:
        """Take the shared context, mapped from the object store, and the first task."""
        assert context is not None
        self._context = context
        self._trial: StudentTrial | None = None
        self._reported: float | None = None
        pin_threads(self._context.threads)
        if self._context.on_gpu:
            from study.distillation.acceleration import prepare_gpu

            prepare_gpu(self._context.gpus)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next task; the student of the last one is dropped."""
        self.cleanup()
        idle = 0.0 if self._reported is None else time.perf_counter() - self._reported
        self._trial = StudentTrial(TrialTask.from_config(new_config), self._context, idle)
        return True

    def step(self) -> dict[str, Any]:
        """Do the next step of the trial.

        Raises:
            UnfitWorker: naming its node; Ray Tune ends the worker then, and reuses it for nobody.
        """
        assert self._trial is not None
        try:
            report = self._trial.advance()
        except UnfitWorker as unfit:
            unfit.node = get_runtime_context().get_node_id()
            raise
        self._reported = time.perf_counter()
        return unnested(report)

    def cleanup(self) -> None:
        """End the trial, if there is one."""
        if self._trial is not None:
            self._trial.close()
            self._trial = None
            if self._context.on_gpu:
                give_memory_back()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Keep nothing with Ray: trials write their checkpoints into the study's folder."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Take nothing from Ray."""
