"""Training one student, epoch by epoch, exactly repeatable and exactly resumable.

Everything random is drawn by number: the order of an epoch and its dropout masks by
`(seed, epoch)`, its crops and flips by `(view_seed, view)`, which images are mixed by
`(seed, epoch, step)`. So the state between epochs is the weights, the momentum and the count of
epochs, and a resumed training takes the very same steps. (On a CPU to the last bit, given the same
number of threads; on a GPU as far as its kernels are deterministic.)
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from study.distillation.deployment import Exits
from study.distillation.draws import Mix, epoch_draws, lesson_seed, mix_draw
from study.distillation.evaluation import evaluate, exit_scores, score
from study.distillation.image_data import Augmentation, Rows, Split
from study.distillation.layout import to_train
from study.distillation.lesson import Batch, Lesson
from study.distillation.methods import Method
from study.distillation.phases import PhaseClock
from study.distillation.precision import Precision, resolve_precision
from study.distillation.resident import ResidentSplit, borrow
from study.distillation.step_runner import StepRunner, no_capture_because
from study.distillation.stepping import Diverged, LossLog, set_rate, steps_between_readings
from study.distillation.teacher_source import (
    CachedTeacher,
    LiveTeacher,
    TeacherSource,
    WholeTable,
)
from study.distillation.trainer import BETWEEN, EpochMetrics, EpochTrainer, TrainingSettings
from study.distillation.views import Normalizer, ViewDraws, apply_view, to_nchw, view_draws

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
    "WholeTable",
    "evaluate",
    "resolve_precision",
]


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


class StudentTrainer(EpochTrainer):
    """Teaches one student by one method.

    Weight decay leaves biases and normalisation alone, as is common
    practice: pulling those towards 0 does not simplify the network. The loss is without label
    smoothing. The last batch of an epoch may be smaller, and is left out if it is one image,
    over which batch normalisation has no variance.
    """

    _lesson: Lesson

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
            require_answers(method, teacher, settings.views, int(rows.max()) + 1)
        student = to_train(student, device)
        self._augmentation = data.augmentation
        self._rows = borrow(rows)
        self._device_rows = self._rows.to(device)
        self._train = ResidentSplit.of(data.train, device)
        self._validation = ResidentSplit.of(data.validation, device)
        self._normalize = Normalizer(data.mean, data.std, device)
        self._classes = data.classes
        self._score = data.score
        clock = PhaseClock(BETWEEN)
        # Seeded by itself: a caller may or may not have built a teacher just before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(lesson_seed(settings.seed))
            lesson = Lesson(
                method,
                student,
                teacher,
                self._normalize,
                settings.precision,
                self._train.images[:2].permute(0, 3, 1, 2),
                data.classes,
                clock,
            )
        self._mixup = lesson.mixup
        self._mix: Mix | None = None
        self._epoch = 0
        self._draws: ViewDraws | None = None
        asked = teacher.network if isinstance(teacher, LiveTeacher) else None
        eager_because = no_capture_because(student, method, lesson.mixup, device, asked)
        self._runner = StepRunner(_held_weakly(self), device, eager_because)
        super().__init__(student, lesson, settings, device, len(rows), clock)

    @property
    def steps_taken(self) -> str:
        """How steps are taken: `graph`, or `eager` and why."""
        return self._runner.way

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`, see `EpochTrainer`."""
        super().load_state(state)
        self._runner.forget()

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
        self._epoch = epoch
        self._draw(settings.view_of(epoch))
        order, dropout_seed = epoch_draws(settings.seed, epoch, len(self._rows))
        moment = self._lesson.begin(settings.view_of(epoch), epoch, settings.epochs)
        first_step = epoch * self._steps_per_epoch
        log = LossLog(epoch, steps_between_readings(self._device))
        gpus = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus):
            torch.manual_seed(dropout_seed)
            batches = torch.split(order.to(self._device), settings.batch_size)
            for step, picks in enumerate(batches[: self._steps_per_epoch]):
                self.clock.enter("steps")
                rate = self._learning_rate(first_step + step)
                set_rate(self._optimizer, rate)
                self._mix = mix_draw(settings.seed, epoch, step, len(picks), self._mixup)
                log.add(self._runner.run(picks, moment), len(picks), rate)
        self._runner.end_epoch()
        return log.mean()

    def _enter(self, epoch: int) -> None:
        """As of `EpochTrainer`; steps of a new optimiser are measured and captured anew.

        Its first one makes its state: captured, every replay would begin from nothing again.
        """
        before = getattr(self, "_optimizer", None)
        super()._enter(epoch)
        if self._optimizer is not before:
            self._runner.forget()

    def _draw(self, view: int) -> None:
        """Draw the crops and flips of a view, into the same memory as those of the last one."""
        settings = self._settings
        seed = settings.seed if settings.view_seed is None else settings.view_seed
        draws = view_draws(seed, view, int(self._rows.max()) + 1, self._augmentation)
        draws = draws.take(self._rows)
        if self._draws is None:
            self._draws = draws.to(self._device)
        else:
            self._draws.copy_(draws)

    def _step(self, picks: Tensor) -> Tensor:
        """Learn from the images picked, int64 `(batch,)`; returns the loss, on the device."""
        assert self._draws is not None
        settings = self._settings
        self.clock.enter("data")
        images = self._train.images.index_select(0, picks)
        moves = self._augmentation.pad > 0 or self._augmentation.flip
        images = apply_view(images, self._draws.take(picks)) if moves else to_nchw(images)
        self.clock.enter("steps")
        batch = Batch(
            images,
            self._train.labels[picks],
            self._device_rows[picks],
            settings.view_of(self._epoch),
            self._epoch,
            settings.epochs,
            self._mix,
        )
        return self._update(self._lesson(batch)["loss"])


def _held_weakly(trainer: StudentTrainer) -> Callable[[Tensor], Tensor]:
    """The trainer's step, by which nothing holds the trainer.

    So a training that has ended gives back its memory, and its graph's, as soon as it is dropped.
    """
    held = weakref.ref(trainer)

    def step(picks: Tensor) -> Tensor:
        alive = held()
        assert alive is not None
        return alive._step(picks)

    return step


def require_answers(
    method: Method, teacher: TeacherSource | None, views: int | None, images: int
) -> None:
    """Refuse a teacher that cannot answer what a method will ask.

    Raises:
        ValueError: There is none, or its table is too small.
    """
    if teacher is None:
        raise ValueError(f"the method {method.name} needs a teacher")
    if not isinstance(teacher, CachedTeacher):
        return
    known = teacher.views
    answered = known is None or (views is not None and known >= views)
    if not answered or teacher.images < images:
        raise ValueError(
            f"the teacher's table answers {teacher.images} images under "
            f"{'all' if known is None else known} views; "
            f"{images} under {'all' if views is None else views} are needed"
        )
