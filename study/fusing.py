"""Further runs of a trial that its worker trains with it as one, where that is faster.

They differ from it in their seed alone, and :mod:`study.distillation.fused` takes the steps of all
together. The trial is told of the others, its partners, when it is handed out. Its worker leaves
what each has learnt where a worker that goes on with it looks: its partners are handed out once the
trial has ended, and find themselves trained to their end. Should it end before, or its worker die,
each goes on by itself from where it was left.
"""

import gc
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from analysis.results import EpochResult
from study.death import described
from study.distillation.phases import PhaseClock
from study.student import build_student
from study.task import task_of
from study.trial_context import CHECKPOINT_FILE, TrialContext, TrialTask, trial_folder

if TYPE_CHECKING:
    import torch

    from study.distillation.checkpoint_writer import CheckpointWriter
    from study.distillation.fused import FusedTrainer
    from study.distillation.trainer import EpochMetrics

logger = logging.getLogger(__name__)

# As many times as fast as one after another, by the probe, as runs have to be to be fused.
WORTH_IT = 1.1
TOO_LARGE_TOGETHER = "together they need more memory than there is"


@dataclass(frozen=True)
class NotFused:
    """Why the runs are trained one by one."""

    because: str


@dataclass
class _Partner:
    """A further run: its number, what it has learnt so far, and who writes that down."""

    number: int
    writer: "CheckpointWriter"
    curve: list[dict[str, Any]] = field(default_factory=list)


class FusedRuns:
    """Trains a trial with its partners; to the trial it is a trainer of its own student.

    Attributes:
        student: The trial's, on the device.
        exit_scores: None; a student with several exits is not fused.
        runs: How many are trained.
        told: That they are, in a clause.
    """

    exit_scores: Sequence[tuple[float, float]] = ()

    def __init__(
        self,
        trainer: "FusedTrainer",
        partners: Sequence[int],
        context: TrialContext,
        speedup: float | None,
    ) -> None:
        """Begin before the first epoch.

        Args:
            trainer: Of the trial's student and, in their order, its partners'.
            partners: Numbers of the partners' trials.
            context: What trials share.
            speedup: By the probe, if there was one.
        """
        from study.distillation.checkpoint_writer import CheckpointWriter

        self._trainer = trainer
        self._clock = PhaseClock("between")
        self._states: list[dict[str, Any]] = []
        mirror = context.mirror
        self._partners = [
            _Partner(
                number,
                CheckpointWriter(
                    trial_folder(context.place, number) / CHECKPOINT_FILE,
                    then=None if mirror is None else mirror.send,
                ),
            )
            for number in partners
        ]
        probed = "" if speedup is None else f", {speedup:.1f} times as fast by a probe"
        self.told = f"{self.runs} runs are trained as one{probed}"

    @property
    def runs(self) -> int:
        """The trial and its partners."""
        return 1 + len(self._partners)

    @property
    def student(self) -> "torch.nn.Module":
        """The trial's."""
        return self._trainer.students[0]

    @property
    def epochs_done(self) -> int:
        """Epochs that all were trained."""
        return self._trainer.epochs_done

    def run_epoch(self) -> "EpochMetrics":
        """Train all for an epoch; returns the trial's.

        A partner that diverges is left as it was an epoch ago: it will do so by itself.

        Raises:
            study.distillation.stepping.Diverged: The trial's own loss is not finite. Its partners
                are left as they were an epoch ago.
        """
        self._clock.enter("steps")
        try:
            first, *others = self._trainer.run_epoch()
        finally:
            self._clock.enter("between")
        if first is None:
            raise self._trainer.diverged[0]
        for partner, epoch in zip(self._partners, others, strict=True):
            if epoch is not None:
                partner.curve.append(EpochResult(**asdict(epoch)).to_json())
        return first

    def state(self) -> dict[str, Any]:
        """What resuming the trial by itself needs; see :meth:`write` for its partners."""
        self._states = self._trainer.states()
        return self._states[0]

    def write(self, began: float) -> None:
        """Write the partners' checkpoints as of the last :meth:`state`, beside what comes next.

        Raises:
            OSError: The disk is full or gone.
        """
        for place, partner in enumerate(self._partners, start=1):
            if place not in self._trainer.diverged:
                state = {"trainer": self._states[place], "curve": list(partner.curve)}
                partner.writer.write({**state, "exit_scores": []}, began)

    def wait(self) -> None:
        """Wait until the partners' checkpoints are on the disk.

        Raises:
            OSError: The disk is full or gone; of several errors, the last.
        """
        problem: Exception | None = None
        for partner in self._partners:
            try:
                partner.writer.wait()
            except Exception as error:
                problem = error
        if problem is not None:
            raise problem

    def spent(self) -> dict[str, float]:
        """Seconds of each phase since this was last asked; validations count as steps."""
        spent = self._clock.take()
        spent.pop("between", None)
        return spent


def fuse(
    student: "torch.nn.Module", task: TrialTask, context: TrialContext, epochs: int
) -> FusedRuns | NotFused:
    """Return who trains a trial with its partners, or why they are trained one by one.

    Args:
        student: The trial's, untrained; not to be used otherwise from now on.
        task: The trial's; its partners are more than none.
        context: What trials share, as the trial's run sees it.
        epochs: Of a full training.

    Raises:
        Exception: The GPU was lost; whatever else goes wrong is a reason not to fuse.
    """
    from study.distillation import fused
    from study.distillation.resident import lost_the_gpu

    contexts = [context, *(context.of_run(run) for _, run in task.partners)]
    students = [student, *(build_student(own, task.params) for own in contexts[1:])]
    speedup = None
    try:
        training = task_of(context.space).to_fuse(students, task.params, contexts, epochs)
        if context.fuse == "auto":
            speedup = fused.speedup(*training)
            if speedup < WORTH_IT:
                return NotFused(f"fused they would be trained {speedup:.2f} times as fast")
        trainer = fused.FusedTrainer(*training)
    except Exception as error:
        if lost_the_gpu(error):
            raise
        return NotFused(why_not(error))
    finally:
        give_memory_back()
    return FusedRuns(trainer, [number for number, _ in task.partners], context, speedup)


def why_not(error: Exception) -> str:
    """Say why runs are not trained as one, of an error that they would not meet by themselves."""
    from study.distillation.resident import ran_out_of_memory
    from study.distillation.stack import CannotFuse

    if ran_out_of_memory(error):
        return TOO_LARGE_TOGETHER
    if not isinstance(error, CannotFuse):
        logger.warning("runs could not be trained as one", exc_info=error)
        return described(error)
    return str(error)


def give_memory_back() -> None:
    """Free what a training that is over held, for the other processes on its GPU too."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()  # does nothing where none is used
