"""Several runs of one configuration, trained as one: their steps are taken together.

The runs differ in their seed alone, so their weights are stacked, and one batched pass of
`torch.func` takes a step of all (as HFTA does: Wang et al., "Horizontally Fused Training Array",
2021). Each run keeps what is its own: first weights, data order, dropout masks, statistics of batch
normalisation, momentum. It learns what it would learn alone, up to the rounding of other kernels,
and its state is that of a `StudentTrainer`, so that a training can be begun fused and ended alone,
or the other way round.

Small students leave most of a GPU idle, and there this may win. On a CPU networks of convolutions
lose by it, and the smallest of dense layers win a little (`tests.benchmarks.fused`). `speedup`
measures it.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from study.distillation.deployment import Exits
from study.distillation.draws import epoch_draws
from study.distillation.dropout_masks import GivenMask, Masks, dropout_inputs
from study.distillation.evaluation import score
from study.distillation.layout import to_train
from study.distillation.losses import class_logits
from study.distillation.methods import Answers, Method, Mixing
from study.distillation.precision import autocast
from study.distillation.resident import ResidentSplit, borrow, ran_out_of_memory
from study.distillation.stack import (
    CannotFuse,
    member_of,
    stack,
    stacked_states,
    template_of,
)
from study.distillation.stepping import (
    Diverged,
    LossLog,
    forget_gradients,
    on_cpu,
    optimizer_of,
    steps_between_readings,
)
from study.distillation.teacher_source import TeacherSource
from study.distillation.trainer import EpochMetrics, TrainingSettings
from study.distillation.training import StudentTrainer, TrainingData, require_answers
from study.distillation.views import Normalizer, ViewDraws, apply_view, view_draws

__all__ = ["CannotFuse", "FusedTrainer", "FusedTraining", "speedup"]


class FusedTraining(NamedTuple):
    """What a `FusedTrainer` is made of, and `speedup` measures: their arguments, in order."""

    students: Sequence[nn.Module]
    method: Method
    data: TrainingData
    teacher: TeacherSource | None
    settings: Sequence[TrainingSettings]
    device: torch.device


class FusedTrainer:
    """Teaches several runs of one student by one method.

    Attributes:
        students: The networks, on the device; their weights are slices of the stack.
        diverged: Of the runs whose loss became infinite or not a number: by place, what a training
            alone would have raised. The others go on.
        epochs_done: Epochs trained so far.
    """

    def __init__(
        self,
        students: Sequence[nn.Module],
        method: Method,
        data: TrainingData,
        teacher: TeacherSource | None,
        settings: Sequence[TrainingSettings],
        device: torch.device,
    ) -> None:
        """Put students and data on the device, and stack the students.

        Args:
            students: Alike but for their weights; see `StudentTrainer`.
            method: Their loss.
            data: Splits and their statistics.
            teacher: Answers, where the method asks for it.
            settings: Of each run; alike but for the seeds.
            device: Where to train.

        Raises:
            CannotFuse: Students, method or settings are such as have to be trained alone.
            ValueError: As `StudentTrainer`.
        """
        _require_alike(students, method, settings)
        rows = np.arange(len(data.train)) if data.rows is None else data.rows
        if method.needs_teacher:
            require_answers(method, teacher, settings[0].views, int(rows.max()) + 1)
        self.students = [to_train(student, device) for student in students]
        self.diverged: dict[int, Diverged] = {}
        self.epochs_done = 0
        self._settings = tuple(settings)
        self._method, self._teacher = method, teacher if method.needs_teacher else None
        self._device = device
        self._data = data
        self._rows = borrow(rows)
        self._device_rows = self._rows.to(device)
        self._train = ResidentSplit.of(data.train, device)
        self._validation = ResidentSplit.of(data.validation, device)
        self._normalize = Normalizer(data.mean, data.std, device)
        self._steps_per_epoch = settings[0].steps_of(len(rows))
        self._template = template_of(self.students[0])
        self._masked = [m for m in self._template.modules() if isinstance(m, GivenMask)]
        self._parameters, self._buffers = stack(self.students)
        names = dict(self.students[0].named_parameters())
        self._optimizer = optimizer_of(
            list(self._parameters.values()),
            [names[name].ndim for name in self._parameters],
            settings[0],
        )
        self._shapes: dict[int, list[Tensor]] = {}
        self._try()

    def run_epoch(self) -> list[EpochMetrics | None]:
        """Train all runs for an epoch and score them on the validation split.

        Returns:
            Of each run, its epoch, or None if it has diverged. Its seconds are its share of those
            of all.

        Raises:
            RuntimeError: All epochs are done, or all runs have diverged.
        """
        settings = self._settings[0]
        if self.epochs_done >= settings.epochs or len(self.diverged) == len(self.students):
            raise RuntimeError(f"all {settings.epochs} epochs are done, or all runs have diverged")
        self._wait_for_device()
        start = time.perf_counter()
        losses = self._train_epoch(self.epochs_done)
        self._wait_for_device()
        seconds = (time.perf_counter() - start) / len(self.students)
        self.epochs_done += 1
        rate = settings.rate_at(self.epochs_done * self._steps_per_epoch - 1, self._steps_per_epoch)
        return [
            None if loss is None else self._scored(place, loss, rate, seconds)
            for place, loss in enumerate(losses)
        ]

    def states(self) -> list[dict[str, Any]]:
        """What resuming each run needs: the states of as many `StudentTrainer`."""
        stacked = self._optimizer.state_dict()
        return [
            {
                "epochs_done": self.epochs_done,
                "settings": asdict(settings),
                "model": on_cpu(student.state_dict()),
                "lesson": {},
                "optimizer": on_cpu(member_of(stacked, place)),
            }
            for place, (student, settings) in enumerate(
                zip(self.students, self._settings, strict=True)
            )
        ]

    def load_states(self, states: Sequence[dict[str, Any]]) -> None:
        """Go on from the states of as many runs, fused or alone.

        Raises:
            ValueError: They are of different epochs, or one was reached under other settings.
        """
        epochs = {state["epochs_done"] for state in states}
        if len(states) != len(self.students) or len(epochs) != 1:
            raise ValueError(
                f"{len(states)} states after {sorted(epochs)} epochs: give {len(self.students)} "
                "of one epoch"
            )
        for settings, state in zip(self._settings, states, strict=True):
            settings.require_same(state["settings"])
        for student, state in zip(self.students, states, strict=True):
            student.load_state_dict(state["model"])  # into the stack, whose slices they are
        self._optimizer.load_state_dict(stacked_states([state["optimizer"] for state in states]))
        self.epochs_done = epochs.pop()

    def _train_epoch(self, epoch: int) -> list[float | None]:
        """Take the steps of an epoch; returns each run's mean loss over the images."""
        settings = self._settings[0]
        for student in self.students:
            student.train()
        self._template.train()
        view = settings.view_of(epoch)
        draws = self._draws(view)
        drawn = [epoch_draws(s.seed, epoch, len(self._rows)) for s in self._settings]
        orders = torch.stack([order for order, _ in drawn]).to(self._device)
        masks = Masks([seed for _, seed in drawn], self._masked, self._device)
        method = self._method.at(epoch, settings.epochs)
        every = steps_between_readings(self._device)
        logs = [LossLog(epoch, every) for _ in self.students]
        batches = torch.split(orders, settings.batch_size, dim=1)
        for step, picks in enumerate(batches[: self._steps_per_epoch]):
            rate = settings.rate_at(epoch * self._steps_per_epoch + step, self._steps_per_epoch)
            losses = self._step(method, view, draws, picks, rate, masks)
            for place, log in enumerate(logs):
                self._note(place, partial(log.add, losses[place], picks.shape[1], rate))
        return [self._note(place, log.mean) for place, log in enumerate(logs)]

    def _step(
        self,
        method: Method,
        view: int,
        draws: ViewDraws,
        picks: Tensor,
        rate: float,
        masks: Masks,
    ) -> Tensor:
        """A step of all runs on the images `picks`, int64 `(runs, batch)`; their losses."""
        runs, batch = picks.shape
        flat = picks.reshape(-1)
        own = torch.arange(runs, device=self._device).repeat_interleave(batch) * len(self._rows)
        images = apply_view(self._train.images.index_select(0, flat), draws.take(flat + own))
        answers = None
        if self._teacher is not None:
            asked = self._teacher.answers(view, self._device_rows[flat], images)[0]
            answers = asked.view(runs, batch, -1)
        pixels = self._normalize(images)
        pixels = pixels.view(runs, batch, *pixels.shape[1:])
        labels = self._train.labels[picks]
        shapes = self._mask_shapes(pixels[0])
        losses = self._losses(method, pixels, labels, answers, masks.next(shapes))
        forget_gradients(self._optimizer)
        torch.autograd.backward(losses.sum())  # no run's loss depends on another's weights
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        return losses.detach()

    def _losses(
        self,
        method: Method,
        pixels: Tensor,
        labels: Tensor,
        answers: Tensor | None,
        masks: list[Tensor],
        buffers: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """The loss of each run, `(runs,)`; statistics in the buffers are updated in place."""

        def loss_of(
            parameters: dict[str, Tensor],
            buffers: dict[str, Tensor],
            pixels: Tensor,
            labels: Tensor,
            answers: Tensor | None,
            masks: list[Tensor],
        ) -> Tensor:
            for module, mask in zip(self._masked, masks, strict=True):
                module.mask = mask
            with autocast(self._settings[0].precision, self._device):
                logits = functional_call(self._template, (parameters, buffers), (pixels,))
            if not isinstance(logits, Tensor):
                raise CannotFuse("the student answers more than logits")
            classes, columns = self._data.classes, logits.shape[1]
            if answers is not None and classes is not None and answers.shape[1] != columns:
                answers = class_logits(answers, classes)
            return method.loss(Answers(logits.float(), labels, answers))["loss"]

        given = self._buffers if buffers is None else buffers
        together = torch.vmap(
            loss_of, in_dims=(0, 0, 0, 0, None if answers is None else 0, 0), randomness="error"
        )
        losses: Tensor = together(self._parameters, given, pixels, labels, answers, masks)
        return losses

    def _draws(self, view: int) -> ViewDraws:
        """The crops and flips of every run's images, one run behind the other."""
        count = int(self._rows.max()) + 1
        seeds = [s.seed if s.view_seed is None else s.view_seed for s in self._settings]
        augmentation = self._data.augmentation
        own = {seed: view_draws(seed, view, count, augmentation).take(self._rows) for seed in seeds}
        return ViewDraws(
            torch.cat([own[seed].dy for seed in seeds]),
            torch.cat([own[seed].dx for seed in seeds]),
            torch.cat([own[seed].flip for seed in seeds]),
            augmentation,
        ).to(self._device)

    def _mask_shapes(self, pixels: Tensor) -> list[Tensor]:
        """What each dropout of a run gets from a batch of this size: ones in the same layout."""
        if not self._masked:
            return []
        if len(pixels) not in self._shapes:
            found = dropout_inputs(self.students[0], pixels, self._settings[0].precision)
            if found is None:
                raise CannotFuse("dropouts are not called once each, in their order")
            self._shapes[len(pixels)] = found
        return self._shapes[len(pixels)]

    def _try(self) -> None:
        """Go through one small batch, of which nothing stays, to see whether it can be done.

        Raises:
            CannotFuse: Some part of the student or the method has no batched form.
        """
        runs, count = len(self.students), min(4, len(self._rows))
        images = self._train.images[:count].permute(0, 3, 1, 2)
        pixels = self._normalize(images)
        labels = self._train.labels[:count].expand(runs, count)
        answers = None
        if self._teacher is not None:
            answers = self._teacher.answers(0, self._device_rows[:count], images)[0]
            answers = answers.expand(runs, *answers.shape)
        masks = Masks([0] * runs, self._masked, self._device).next(self._mask_shapes(pixels))
        self._template.train()
        buffers = {name: value.clone() for name, value in self._buffers.items()}
        try:
            with torch.no_grad():
                self._losses(
                    self._method.at(0, self._settings[0].epochs),
                    pixels.expand(runs, *pixels.shape),
                    labels,
                    answers,
                    masks,
                    buffers,
                )
        except RuntimeError as error:
            if ran_out_of_memory(error):
                raise
            raise CannotFuse(f"no batched form: {str(error).splitlines()[0]}") from error

    def _scored(self, place: int, loss: float, rate: float, seconds: float) -> EpochMetrics | None:
        val_loss, val_score = score(
            self.students[place],
            self._validation,
            self._normalize,
            self._settings[0].precision,
            classes=self._data.classes,
            by=self._data.score,
        )
        if not np.isfinite(val_loss):
            self.diverged[place] = Diverged(
                f"the validation loss is {val_loss} after epoch {self.epochs_done} "
                f"(learning rate {rate:.3g})"
            )
            return None
        return EpochMetrics(self.epochs_done, loss, val_loss, val_score, rate, seconds)

    def _note(self, place: int, what: Callable[[], float | None]) -> float | None:
        """Do what reads a run's losses, unless it has diverged; note if it does."""
        if place in self.diverged:
            return None
        try:
            return what()
        except Diverged as error:
            self.diverged[place] = error.with_traceback(None)  # which holds all that is here
            return None

    def _wait_for_device(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def speedup(
    students: Sequence[nn.Module],
    method: Method,
    data: TrainingData,
    teacher: TeacherSource | None,
    settings: Sequence[TrainingSettings],
    device: torch.device,
    steps: int = 12,
) -> float:
    """How many times as fast the runs are trained fused as one after another.

    Each way takes an epoch of `steps` steps to warm up and, in turn, two that count; the students
    given stay as they are.

    Raises:
        CannotFuse: As `FusedTrainer`.
        Diverged: In so short a training; what a whole one does is not known by that.
    """
    count = min(len(data.train), steps * settings[0].batch_size)
    rows = np.arange(len(data.train)) if data.rows is None else data.rows
    few = replace(data, train=data.train.take(np.arange(count)), rows=rows[:count])
    method = method.at(0, settings[0].epochs)  # whose steps are captured once, as those of an epoch
    short = [replace(own, epochs=3) for own in settings]
    fused = FusedTrainer(
        [copy.deepcopy(student) for student in students], method, few, teacher, short, device
    )
    alone = [
        StudentTrainer(copy.deepcopy(student), method, few, teacher, own, device)
        for student, own in zip(students, short, strict=True)
    ]
    together: list[float] = []
    in_turn: list[float] = []
    for _ in range(3):
        epochs = fused.run_epoch()
        for error in fused.diverged.values():
            raise error
        together.append(sum(epoch.seconds for epoch in epochs if epoch is not None))
        in_turn.append(sum(trainer.run_epoch().seconds for trainer in alone))
    return min(in_turn[1:]) / min(together[1:])


def _require_alike(
    students: Sequence[nn.Module], method: Method, settings: Sequence[TrainingSettings]
) -> None:
    if len(students) < 2 or len(students) != len(settings):
        raise CannotFuse(f"{len(students)} students with {len(settings)} settings are no runs")
    first = settings[0]
    for own in settings[1:]:
        if replace(own, seed=first.seed, view_seed=first.view_seed) != first:
            raise CannotFuse("the runs have other settings than their seeds")
    shapes = [{n: v.shape for n, v in s.state_dict().items()} for s in students]
    if any(other != shapes[0] for other in shapes):
        raise CannotFuse("the students differ in more than their weights")
    if first.transfer.freezes:
        raise CannotFuse("parts of the student are frozen for a while")
    if method.taps is not None or method.needs_network:
        raise CannotFuse(f"the method {method.name} asks for more than the teacher's logits")
    if isinstance(method, Mixing) and method.mixup > 0:
        raise CannotFuse(f"the method {method.name} mixes images")
    if isinstance(students[0], Exits):
        raise CannotFuse("the student has several exits")
    if getattr(students[0], "begin_epoch", None) is not None:
        raise CannotFuse("the student's training has stages of its own")
