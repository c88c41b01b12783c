"""Training one student, epoch by epoch, exactly repeatable and exactly resumable.

Everything random is drawn by number: the order of an epoch and its dropout masks by
`(seed, epoch)`, its crops and flips by `(view_seed, view)`, which images are mixed by
`(seed, epoch, step)`. So the state between epochs is the
weights, the momentum and the count of epochs, and a resumed training takes the very same steps.
(On a CPU to the last bit, given the same number of threads; on a GPU as far as its kernels are
deterministic.)
"""

import copy
import math
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from study.distillation.deployment import Exits
from study.distillation.draws import epoch_draws, lesson_seed, mix_draw
from study.distillation.evaluation import evaluate, exit_scores, score
from study.distillation.image_data import Augmentation, Rows, Split
from study.distillation.lesson import Batch, Lesson
from study.distillation.methods import Method
from study.distillation.precision import Precision, resolve_precision
from study.distillation.resident import ResidentSplit, borrow
from study.distillation.schedules import SCHEDULES
from study.distillation.stepping import (
    Diverged,
    LossLog,
    make_optimizer,
    on_cpu,
    steps_between_readings,
)
from study.distillation.teacher_source import CachedTeacher, LiveTeacher, TeacherSource
from study.distillation.transfer import Phase, Transfer, freeze_but
from study.distillation.views import Normalizer, apply_view, view_draws

__all__ = [
    "CachedTeacher",
    "Diverged",
    "EpochMetrics",
    "LiveTeacher",
    "Precision",
    "StudentTrainer",
    "TeacherSource",
    "TrainingData",
    "TrainingSettings",
    "evaluate",
    "resolve_precision",
]

OPTIMIZERS = ("sgd", "adam")


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
        views: Augmented views, repeated in turn: epoch e (from 0) sees view e mod `views`.
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
    views: int = 8
    view_seed: int | None = None
    precision: Precision = "float32"
    drop_last: bool = False
    transfer: Transfer = field(default_factory=Transfer)

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        for name, least in (("epochs", 1), ("batch_size", 2), ("views", 1), ("seed", 0)):
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"no schedule {self.schedule!r}; choose {', '.join(SCHEDULES)}")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"no optimizer {self.optimizer!r}; choose {', '.join(OPTIMIZERS)}")


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a student learns from and is scored on while it learns.

    Attributes:
        train: The train split, or a part of it.
        validation: The split that the search looks at.
        mean: Mean of each channel, scale 0..1.
        std: Standard deviation of each channel, scale 0..1.
        augmentation: Padding and flip of the views.
        rows: int64 `(n,)`, the number of each image of `train` in the full train split, by
            which its crops are drawn and the teacher's outputs looked up; None if it is the full.
        classes: Number of classes, where networks answer subclasses of them.
        score: Name of what a student is scored by, see `metrics.SCORES`.
    """

    train: Split
    validation: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation
    rows: Rows | None = None
    classes: int | None = None
    score: str = "accuracy"

    def __post_init__(self) -> None:
        """Refuse rows that do not belong to `train`."""
        if self.rows is not None and self.rows.shape != (len(self.train),):
            raise ValueError(f"rows are {self.rows.shape} for {len(self.train)} training images")


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


class StudentTrainer:
    """Teaches one student by one method.

    Weight decay leaves biases and normalisation alone, as is common
    practice: pulling those towards 0 does not simplify the network. The loss is without label
    smoothing. The last batch of an epoch may be smaller, and is left out if it is one image,
    over which batch normalisation has no variance.
    """

    def __init__(
        self,
        student: nn.Module,
        method: Method,
        data: TrainingData,
        teacher: TeacherSource | None,
        settings: TrainingSettings,
        device: torch.device,
    ) -> None:
        """Put student and data on the device.

        Args:
            student: Maps float `(batch, channels, height, width)` to logits `(batch, classes)`.
            method: Its loss.
            data: Splits and their statistics.
            teacher: Where the teacher's answers come from; may be None if `method` needs none,
                and is then never asked.
            settings: How to train.
            device: Where to.

        Raises:
            ValueError: The method needs a teacher and there is none, the teacher's table is
                smaller than the data or lacks what the method asks for, a network has no module
                that the method taps or no such part as is to learn, or there are fewer training
                images than make a batch.
        """
        rows = np.arange(len(data.train)) if data.rows is None else data.rows
        if len(rows) < 2:
            raise ValueError(f"training needs at least 2 images, got {len(rows)}")
        if method.needs_teacher:
            _require_answers(method, teacher, settings.views, int(rows.max()) + 1)
        self.epochs_done = 0
        # Of each exit of a student that has several, after the last epoch: loss and score.
        self.exit_scores: list[tuple[float, float]] = []
        self.student = student.to(device).to(memory_format=torch.channels_last)
        self._settings = settings
        self._device = device
        self._augmentation = data.augmentation
        self._rows = borrow(rows)
        self._device_rows = self._rows.to(device)
        self._train = ResidentSplit.of(data.train, device)
        self._validation = ResidentSplit.of(data.validation, device)
        self._normalize = Normalizer(data.mean, data.std, device)
        self._classes = data.classes
        self._score = data.score
        # Seeded by itself: a caller may or may not have built a teacher just before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(lesson_seed(settings.seed))
            self._lesson = Lesson(
                method,
                self.student,
                teacher,
                self._normalize,
                settings.precision,
                self._train.images[:2].permute(0, 3, 1, 2),
                data.classes,
            )
        self._phase: Phase | None = None
        self._enter(0)
        full, left = divmod(len(rows), settings.batch_size)
        self._steps_per_epoch = full + (left > 1 and not settings.drop_last)
        if self._steps_per_epoch == 0:
            raise ValueError(
                f"{len(rows)} training images do not fill a batch of {settings.batch_size}"
            )

    def run_epoch(self) -> EpochMetrics:
        """Train for one epoch and score the student on the validation split.

        Raises:
            Diverged: A loss is not finite; names epoch, step and learning rate.
            RuntimeError: All epochs are done.
        """
        if self.epochs_done >= self._settings.epochs:
            raise RuntimeError(f"all {self._settings.epochs} epochs are done")
        self._wait_for_device()
        start = time.perf_counter()
        train_loss = self._train_epoch(self.epochs_done)
        self._wait_for_device()
        seconds = time.perf_counter() - start
        rate = self._learning_rate((self.epochs_done + 1) * self._steps_per_epoch - 1)
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
            "optimizer": on_cpu(self._optimizer.state_dict()),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`, which stays as it is.

        Raises:
            ValueError: It was reached under other settings. (Another precision is let pass, so
                that a training can move to another machine.)
        """
        for name, value in asdict(self._settings).items():
            if name != "precision" and state["settings"][name] != value:
                raise ValueError(
                    f"the state was reached with {name} {state['settings'][name]}, not {value}"
                )
        self.student.load_state_dict(state["model"])
        self._lesson.load_state_dict(state["lesson"])
        # The optimiser of the last epoch done: another phase, if it comes next, makes its own.
        self._enter(max(state["epochs_done"] - 1, 0))
        # The optimiser would otherwise go on in the caller's tensors.
        self._optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
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
            self._phase = phase

    def _validate(self) -> tuple[float, float]:
        """Loss and score on the validation split, of the exit judged by where there are several."""
        precision = self._settings.precision
        if isinstance(self.student, Exits):
            asked = (self.student, self._validation, self._normalize, precision)
            self.exit_scores = exit_scores(*asked, self._score)
            return self.exit_scores[self.student.exits.index(self.student.exit)]
        return score(
            self.student,
            self._validation,
            self._normalize,
            precision,
            classes=self._classes,
            by=self._score,
        )

    def _train_epoch(self, epoch: int) -> float:
        """Take the steps of one epoch; returns the mean loss over the images."""
        settings = self._settings
        self._enter(epoch)
        begin = getattr(self.student, "begin_epoch", None)
        if begin is not None:  # a student whose training has stages of its own
            begin(epoch, settings.epochs)
        view = epoch % settings.views
        view_seed = settings.seed if settings.view_seed is None else settings.view_seed
        draws = view_draws(view_seed, view, int(self._rows.max()) + 1, self._augmentation)
        draws = draws.take(self._rows).to(self._device)
        order, dropout_seed = epoch_draws(settings.seed, epoch, len(self._rows))
        first_step = epoch * self._steps_per_epoch
        log = LossLog(epoch, steps_between_readings(self._device))
        gpus = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus):
            torch.manual_seed(dropout_seed)
            batches = torch.split(order.to(self._device), settings.batch_size)
            for step, picks in enumerate(batches[: self._steps_per_epoch]):
                images = self._train.images.index_select(0, picks)
                images = apply_view(images, draws.take(picks))
                rate = self._learning_rate(first_step + step)
                rows = self._device_rows[picks]
                labels = self._train.labels[picks]
                mix = mix_draw(settings.seed, epoch, step, len(picks), self._lesson.mixup)
                batch = Batch(images, labels, rows, view, epoch, settings.epochs, mix)
                loss = self._step(batch, rate)
                log.add(loss, len(picks), rate)
        return log.mean()

    def _step(self, batch: Batch, rate: float) -> Tensor:
        """One step of the optimiser; returns the batch's loss, on the device."""
        loss: Tensor = self._lesson(batch)["loss"]
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        return loss.detach()

    def _learning_rate(self, step: int) -> float:
        settings = self._settings
        course = SCHEDULES[settings.schedule](step, settings.epochs * self._steps_per_epoch)
        phase = settings.transfer.phase(step // self._steps_per_epoch, settings.epochs)
        return settings.learning_rate * course * phase.rate

    def _wait_for_device(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def _require_answers(
    method: Method, teacher: TeacherSource | None, views: int, images: int
) -> None:
    if teacher is None:
        raise ValueError(f"the method {method.name} needs a teacher")
    if isinstance(teacher, CachedTeacher) and (teacher.views < views or teacher.images < images):
        raise ValueError(
            f"the teacher's table answers {teacher.images} images under {teacher.views} views; "
            f"{images} under {views} are needed"
        )
