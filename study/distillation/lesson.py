"""A lesson: what is done with one batch. Both networks are asked, and the method judges.

Here networks, taps and projectors come together, so that a method can stay a pure function of
tensors. The parameters of a lesson (its projectors) are trained and checkpointed beside the
student's, and are not the student's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from study.distillation.losses import class_logits
from study.distillation.methods import Answers, FeatureTaps, Method
from study.distillation.precision import Precision, autocast
from study.distillation.projectors import Projector
from study.distillation.taps import Taps
from study.distillation.teacher_source import TeacherSource


@dataclass(frozen=True, eq=False)
class Batch:
    """Some images of one view.

    Attributes:
        images: uint8 `(batch, channels, height, width)`, augmented.
        labels: int64 `(batch,)`.
        rows: int64 `(batch,)`, the images' numbers in the full train split.
        view: Number of the view.
        epoch: From 0.
        epochs: Of the whole training.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    view: int
    epoch: int
    epochs: int


class Lesson(nn.Module):
    """Asks student and teacher about a batch and lets the method compute the loss."""

    def __init__(
        self,
        method: Method,
        student: nn.Module,
        teacher: TeacherSource | None,
        normalize: Callable[[Tensor], Tensor],
        precision: Precision,
        sample: Tensor,
        classes: int | None = None,
    ) -> None:
        """Tap the networks and make the projectors; the caller seeds torch.

        Args:
            method: Computes the loss.
            student: On its device; it is not part of this module.
            teacher: Answers, where the method asks for it.
            normalize: Turns uint8 images into the student's floats.
            precision: Format of the forward pass.
            sample: uint8 `(2, channels, height, width)` on the student's device: feature maps
                take their shapes from it.
            classes: Of the data, where networks may answer subclasses of them: a teacher of
                subclasses teaches a student of other outputs by its class logits.

        Raises:
            TapError: A tap that the method asks for does not exist; names the network.
        """
        super().__init__()
        self._method = method
        self._networks = (student,)  # in a tuple, so that it is no submodule
        self._teacher = teacher if method.needs_teacher else None
        self._normalize = normalize
        self._precision: Precision = precision
        self._classes = classes
        self._taps: Taps | None = None
        self._teacher_taps: tuple[str, ...] = ()
        self.projectors = nn.ModuleList()
        if method.taps is not None:
            self._join(method.taps, sample)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The method's terms for a batch; `"loss"` is to be differentiated."""
        method = self._method.at(batch.epoch, batch.epochs)
        teacher_logits: Tensor | None = None
        targets: tuple[Tensor, ...] = ()
        if self._teacher is not None:
            teacher_logits, targets = self._teacher.answers(
                batch.view, batch.rows, batch.images, self._teacher_taps
            )
        with autocast(self._precision, batch.images.device):
            logits = self._networks[0](self._normalize(batch.images))
            features: tuple[Tensor, ...] = ()
            if self._taps is not None:
                features, targets = self._projected(self._taps.features(), targets)
        if teacher_logits is not None:
            teacher_logits = self._comparable(teacher_logits, logits)
        return method.loss(
            Answers(
                logits.float(),
                batch.labels,
                teacher_logits,
                tuple(feature.float() for feature in features),
                tuple(target.float() for target in targets),
            )
        )

    def close(self) -> None:
        """Take the taps off the student."""
        if self._taps is not None:
            self._taps.close()

    def _comparable(self, teacher_logits: Tensor, logits: Tensor) -> Tensor:
        """The teacher's logits, by class unless the student answers the same subclasses."""
        if self._classes is None or teacher_logits.shape[1] == logits.shape[1]:
            return teacher_logits
        return class_logits(teacher_logits, self._classes)

    def _join(self, taps: FeatureTaps, sample: Tensor) -> None:
        student = self._networks[0]
        assert self._teacher is not None
        try:
            self._taps = Taps(student, taps.student)
        except ValueError as error:
            raise type(error)(f"student: {error}") from None
        self._teacher_taps = taps.teacher
        with torch.no_grad():
            _, targets = self._teacher.answers(0, torch.arange(len(sample)), sample, taps.teacher)
            was_training = student.training
            student.eval()(self._normalize(sample))
            student.train(was_training)
        for own, target in zip(self._taps.features(), targets, strict=True):
            source, goal = tuple(own.shape[1:]), tuple(target.shape[1:])
            if taps.direction == "teacher-to-student":
                source, goal = goal, source
            self.projectors.append(Projector(source, goal))
        self.projectors.to(sample.device)

    def _projected(
        self, features: tuple[Tensor, ...], targets: tuple[Tensor, ...]
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        assert self._method.taps is not None
        if self._method.taps.direction == "teacher-to-student":
            pairs = zip(self.projectors, targets, strict=True)
            return features, tuple(project(target) for project, target in pairs)
        pairs = zip(self.projectors, features, strict=True)
        return tuple(project(feature) for project, feature in pairs), targets
