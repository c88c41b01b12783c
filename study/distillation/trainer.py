"""A training, epoch by epoch, whatever is learned: what every trainer has in common.

A trainer says how the steps of one epoch are taken and how the student is scored. Going through the
epochs, the learning rate, phases of transfer learning, and what is kept to resume are said here.
"""

import copy
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from study.distillation.phases import PhaseClock
from study.distillation.precision import Precision
from study.distillation.schedules import SCHEDULES
from study.distillation.stepping import (
    Diverged,
    forget_gradients,
    make_optimizer,
    on_cpu,
    ready_for_capture,
    set_rate,
    with_plain_rates,
)
from study.distillation.transfer import Phase, Transfer, freeze_but

OPTIMIZERS = ("sgd", "adam")
# What the clock of a trainer is in between two epochs.
BETWEEN = "between"


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how fast a student learns.

    Attributes:
        epochs: Passes over the train split.
        batch_size: Images a step, at least 2 (batch normalisation).
        learning_rate: The highest rate of the schedule.
        schedule: "onecycle", "cosine" or "constant", see `schedules`.
        optimizer: "sgd" or "adam".
        momentum: Of SGD, with Nesterov's correction; 0 switches both off. Adam has its usual
            moments instead (0.9 and 0.999).
        weight_decay: Of every parameter with two or more axes.
        seed: Of the data order, the dropout, the mixing of images and a lesson's projectors. The
            caller seeds the student's weights.
        views: Augmented views, repeated in turn: epoch e (from 0) sees view e mod `views`. None
            draws a new one every epoch.
        view_seed: Of the views, the one that the teacher's outputs were made with; None is `seed`.
            A replicate has another `seed` and the same views.
        precision: Format of the forward and backward pass.
        drop_last: Leave out an epoch's last batch where it is smaller than the others, for losses
            that depend on a batch's size.
        transfer: Which part of the network learns in which epoch; all of it by default.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    schedule: Literal["onecycle", "cosine", "constant"]
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    seed: int = 0
    views: int | None = 8
    view_seed: int | None = None
    precision: Precision = "float32"
    drop_last: bool = False
    transfer: Transfer = field(default_factory=Transfer)

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        for name, least in (("epochs", 1), ("batch_size", 2), ("views", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"no schedule {self.schedule!r}; choose {', '.join(SCHEDULES)}")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"no optimizer {self.optimizer!r}; choose {', '.join(OPTIMIZERS)}")

    def require_same(self, others: Mapping[str, Any]) -> None:
        """Refuse a state that was reached under other settings, but for the precision.

        Raises:
            ValueError: Naming the first that differs.
        """
        for name, value in asdict(self).items():
            if name != "precision" and others[name] != value:
                raise ValueError(f"the state was reached with {name} {others[name]}, not {value}")

    def steps_of(self, examples: int) -> int:
        """Steps of an epoch of so many examples.

        The last batch may be smaller than the others, and is left out if it is one example, over
        which batch normalisation has no variance.

        Raises:
            ValueError: They do not fill a batch.
        """
        full, left = divmod(examples, self.batch_size)
        steps = full + (left > 1 and not self.drop_last)
        if steps == 0:
            raise ValueError(f"{examples} training images do not fill a batch of {self.batch_size}")
        return steps

    def rate_at(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step of the training, from 0."""
        course = SCHEDULES[self.schedule](step, self.epochs * steps_per_epoch)
        phase = self.transfer.phase(step // steps_per_epoch, self.epochs)
        return self.learning_rate * course * phase.rate

    def view_of(self, epoch: int) -> int:
        """The number of the view that an epoch (from 0) sees."""
        return epoch if self.views is None else epoch % self.views


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch led to.

    Attributes:
        epoch: Number of the epoch, from 1.
        train_loss: The method's total, mean over the images trained on.
        val_loss: Cross-entropy on the validation split.
        val_score: Percent.
        learning_rate: At the epoch's last step.
        seconds: Of training, without the validation.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_score: float
    learning_rate: float
    seconds: float


class EpochTrainer(ABC):
    """Trains one student, an epoch at a time.

    Attributes:
        student: The network, on the device.
        epochs_done: Epochs trained so far.
        exit_scores: Of each exit of a student that has several, after the last epoch: loss and
            score.
        clock: Where the time of its epochs went: `data`, `teacher`, `steps` (forward, backward,
            optimiser) and `validation`, as far as a trainer tells these apart.
    """

    def __init__(
        self,
        student: nn.Module,
        lesson: nn.Module,
        settings: TrainingSettings,
        device: torch.device,
        examples: int,
        clock: PhaseClock | None = None,
    ) -> None:
        """Begin before the first epoch.

        Args:
            student: On the device.
            lesson: What is trained and checkpointed beside the student, and is not part of it.
            settings: How to train.
            device: Where to.
            examples: Of the train split. An epoch's last batch may be smaller than the others, and
                is left out if it is one example, over which batch normalisation has no variance.
            clock: Told of the phases of an epoch; one of its own, if left out.

        Raises:
            ValueError: The examples do not fill a batch, or no such part is to learn.
        """
        self.student = student
        self.epochs_done = 0
        self.exit_scores: list[tuple[float, float]] = []
        self.clock = clock or PhaseClock(BETWEEN)
        self.clock.enter(BETWEEN)
        self._lesson = lesson
        self._settings = settings
        self._device = device
        self._phase: Phase | None = None
        self._enter(0)
        self._steps_per_epoch = settings.steps_of(examples)

    @abstractmethod
    def _train_epoch(self, epoch: int) -> float:
        """Take the steps of one epoch (from 0); returns the mean loss over the examples."""

    @abstractmethod
    def _validate(self) -> tuple[float, float]:
        """Loss and score on the validation split."""

    def run_epoch(self) -> EpochMetrics:
        """Train for one epoch and score the student on the validation split.

        Raises:
            Diverged: A loss is not finite; names epoch, step and learning rate.
            RuntimeError: All epochs are done.
        """
        if self.epochs_done >= self._settings.epochs:
            raise RuntimeError(f"all {self._settings.epochs} epochs are done")
        try:
            return self._run_epoch()
        finally:
            self.clock.enter(BETWEEN)

    def spent(self) -> dict[str, float]:
        """Seconds of each phase of the epochs since this was last asked."""
        spent = self.clock.take()
        spent.pop(BETWEEN, None)
        return spent

    def _run_epoch(self) -> EpochMetrics:
        self.clock.enter("steps")
        self._wait_for_device()
        start = time.perf_counter()
        train_loss = self._train_epoch(self.epochs_done)
        self._wait_for_device()
        seconds = time.perf_counter() - start
        rate = self._learning_rate((self.epochs_done + 1) * self._steps_per_epoch - 1)
        self.clock.enter("validation")
        val_loss, val_score = self._validate()
        self.epochs_done += 1
        if not math.isfinite(val_loss):
            raise Diverged(
                f"the validation loss is {val_loss} after epoch {self.epochs_done} "
                f"(learning rate {rate:.3g})"
            )
        return EpochMetrics(self.epochs_done, train_loss, val_loss, val_score, rate, seconds)

    def state(self) -> dict[str, Any]:
        """Everything that resuming needs: CPU tensors and JSON, copied, safe to keep and save."""
        return {
            "epochs_done": self.epochs_done,
            "settings": asdict(self._settings),
            "model": on_cpu(self.student.state_dict()),
            "lesson": on_cpu(self._lesson.state_dict()),
            "optimizer": on_cpu(with_plain_rates(self._optimizer.state_dict())),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`, which stays as it is.

        Raises:
            ValueError: It was reached under other settings. (Another precision is let pass, so
                that a training can move to another machine.)
        """
        self._settings.require_same(state["settings"])
        self.student.load_state_dict(state["model"])
        self._lesson.load_state_dict(state["lesson"])
        # The optimiser of the last epoch done: another phase, if it comes next, makes its own.
        self._enter(max(state["epochs_done"] - 1, 0))
        # The optimiser would otherwise go on in the caller's tensors.
        self._optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        ready_for_capture(self._optimizer, self._device)
        self.epochs_done = state["epochs_done"]

    def _enter(self, epoch: int) -> None:
        """Put the student in train mode, as far as it learns in this epoch.

        Each phase begins with a new optimiser, over what learns in it.
        """
        settings = self._settings
        phase = settings.transfer.phase(epoch, settings.epochs)
        self.student.train()
        if settings.transfer.freezes:
            freeze_but(self.student, phase.part)
        if phase != self._phase:
            self._optimizer = make_optimizer((self.student, self._lesson), settings)
            ready_for_capture(self._optimizer, self._device)
            self._phase = phase

    def _descend(self, loss: Tensor, rate: float) -> Tensor:
        """One step of the optimiser at a rate; returns the loss, on the device."""
        set_rate(self._optimizer, rate)
        return self._update(loss)

    def _update(self, loss: Tensor) -> Tensor:
        """One step of the optimiser; returns the loss, on the device."""
        forget_gradients(self._optimizer)
        torch.autograd.backward(loss)
        self._optimizer.step()
        return loss.detach()

    def _learning_rate(self, step: int) -> float:
        return self._settings.rate_at(step, self._steps_per_epoch)

    def _wait_for_device(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
