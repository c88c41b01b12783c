"""A lesson: what is done with one batch. Both networks are asked, and the method judges.

Here networks, taps and projectors come together, so that a method can stay a pure function of
tensors. The parameters of a lesson (its projectors) are trained and checkpointed beside the
student's, and are not the student's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from study.distillation.draws import Mix
from study.distillation.losses import class_logits
from study.distillation.methods import Answers, FeatureTaps, Method, Mixing
from study.distillation.phases import PhaseClock
from study.distillation.precision import Precision, autocast
from study.distillation.projectors import Projector
from study.distillation.taps import Taps
from study.distillation.teacher_source import CachedTeacher, TeacherSource


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
        mix: Which images are mixed, and how; None where they are seen as they are.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    view: int
    epoch: int
    epochs: int
    mix: Mix | None = None


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
        clock: PhaseClock | None = None,
    ) -> None:
        """Tap the networks and make the projectors; the caller seeds torch.

        Args:
            method: Computes the loss.
            student: On its device; it is not part of this module.
            teacher: Answers, where the method asks for it.
            normalize: Turns images, uint8 or mixed, into the student's floats.
            precision: Format of the forward pass.
            sample: uint8 `(2, channels, height, width)` on the student's device: feature maps
                take their shapes from it.
            classes: Of the data, where networks may answer subclasses of them: a teacher of
                subclasses teaches a student of other outputs by its class logits.
            clock: Told when the teacher is asked, and when that is over.

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
        self._clock = clock
        self._taps = method.taps
        self.projectors = nn.ModuleList()
        if self._taps is not None and self._taps.teacher:
            self._join(self._taps, sample)

    @property
    def mixup(self) -> float:
        """The Beta parameter of the mixes that its batches need; 0 where they need none."""
        return self._method.mixup if isinstance(self._method, Mixing) else 0.0

    def begin(self, view: int, epoch: int, epochs: int) -> Method:
        """Begin an epoch; returns the method as it is there, which its steps depend on."""
        if isinstance(self._teacher, CachedTeacher):
            self._teacher.turn_to(view)
        return self._method.at(epoch, epochs)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The method's terms for a batch; `"loss"` is to be differentiated.

        Mixed images are mixed here, once, so that both networks see the same.
        """
        images = batch.images if batch.mix is None else batch.mix.of(batch.images)
        method = self._method.at(batch.epoch, batch.epochs)
        teacher_logits: Tensor | None = None
        targets: tuple[Tensor, ...] = ()
        if self._teacher is not None:
            before = self._clock.enter("teacher") if self._clock else ""
            teacher_logits, targets = self._teacher.answers(
                batch.view, batch.rows, images, self._taps.teacher if self._taps else ()
            )
            if self._clock:
                self._clock.enter(before)
        with autocast(self._precision, images.device):
            logits, features, auxiliary = self._ask_student(images)
            if self._taps is not None and self._taps.teacher:
                features, targets = self._projected(self._taps, features, targets)
        if teacher_logits is not None:
            teacher_logits = self._comparable(teacher_logits, logits)
        return method.loss(
            Answers(
                logits.float(),
                batch.labels,
                teacher_logits,
                tuple(feature.float() for feature in features),
                tuple(target.float() for target in targets),
                None if auxiliary is None else auxiliary.float(),
            )
        )

    def _ask_student(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """Logits, a feature map for each tap, and the logits of an auxiliary head, if it has one.

        Between two lessons the student has no hooks.
        """
        (student,) = self._networks
        names = self._taps.student if self._taps else ()
        with Taps(student, names, whose="the student") as listening:
            answer = student(self._normalize(images))
            logits, auxiliary = answer if isinstance(answer, tuple) else (answer, None)
            return logits, listening.features(), auxiliary

    def _comparable(self, teacher_logits: Tensor, logits: Tensor) -> Tensor:
        """The teacher's logits, by class unless the student answers the same subclasses."""
        if self._classes is None or teacher_logits.shape[1] == logits.shape[1]:
            return teacher_logits
        return class_logits(teacher_logits, self._classes)

    def _join(self, taps: FeatureTaps, sample: Tensor) -> None:
        """Make a projector for each pair, of the shapes that a pass over the sample shows."""
        (student,) = self._networks
        if self._teacher is None:
            raise ValueError(f"the method {self._method.name} taps a teacher, and has none")
        training = [module for module in student.modules() if module.training]
        student.eval()
        with torch.no_grad():
            _, targets = self._teacher.answers(0, torch.arange(len(sample)), sample, taps.teacher)
            _, features, _ = self._ask_student(sample)
        for module in training:
            module.training = True
        for own, target in zip(features, targets, strict=True):
            source, goal = tuple(own.shape[1:]), tuple(target.shape[1:])
            if taps.direction == "teacher-to-student":
                source, goal = goal, source
            self.projectors.append(Projector(source, goal))
        self.projectors.to(sample.device)

    def _projected(
        self, taps: FeatureTaps, features: tuple[Tensor, ...], targets: tuple[Tensor, ...]
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        if taps.direction == "teacher-to-student":
            pairs = zip(self.projectors, targets, strict=True)
            return features, tuple(project(target) for project, target in pairs)
        pairs = zip(self.projectors, features, strict=True)
        return tuple(project(feature) for project, feature in pairs), targets
