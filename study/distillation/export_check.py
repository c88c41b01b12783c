"""Whether an exported file answers as the student did, and how fast it is beside it."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from study.distillation.export import Answer, Shape, Takes, example_images
from study.distillation.ratio import Ratio, Timing, quartile_ratio, timing_of
from study.distillation.stopwatch import LARGE_BATCH, SMALL_BATCH, Turns, without_collection

# Of float networks: other orders of summing move the sixth digit. Of int8 ones a value on the edge
# between two steps may fall to the other side, and moves what follows by a step.
_TOLERANCE = 1e-3
_ROUNDING = 1e-6  # of answers that are next to nothing, in which larger values have cancelled out
_SAME_CLASS_INT8 = 0.99
_IMAGES_AT_ONCE = 64


@dataclass(frozen=True)
class Agreement:
    """How far a file's answers are from the student's, for the same images.

    Attributes:
        images: How many were asked.
        largest_difference: The largest absolute one, in logits, or in units of an image (0 to 1).
        largest_answer: The largest absolute value of the student's answers, to compare it with.
        same_class: Share of images of the same first class; None where no classes are named.
        agrees: Whether that is no more than rounding.
    """

    images: int
    largest_difference: float
    largest_answer: float
    same_class: float | None
    agrees: bool

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class BesideEager:
    """Milliseconds of one pass, pixels to answers, of the file and of the student in eager torch.

    Attributes:
        batch: Images a pass.
        file_ms: Of the file.
        eager_ms: Of the student, with the study's own normalisation before it.
        ratio: Eager over file, of the lower quartiles: above 1 the file is faster.
        repeats: Turns timed, in which the faster of the two has up to five passes.
    """

    batch: int
    file_ms: Timing
    eager_ms: Timing
    ratio: Ratio
    repeats: int

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


@torch.inference_mode()
def agreement(
    student: Answer, file: Answer, images: Tensor, *, names_classes: bool, quantised: bool
) -> Agreement:
    """Ask both the same.

    Args:
        student: The student.
        file: The file, opened.
        images: `(n, c, h, w)`, as both take them.
        names_classes: Whether the largest answer is what counts.
        quantised: Whether the student computes in eight bits.
    """
    largest = scale = 0.0
    same = 0
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        batch = images[start : start + _IMAGES_AT_ONCE]
        wanted, found = student(batch).float(), file(batch).float()
        if found.shape != wanted.shape:
            return Agreement(len(images), float("inf"), 0.0, 0.0 if names_classes else None, False)
        # Not `max` alone: it would pass over what is not a number.
        difference = (found - wanted).abs().nan_to_num(nan=float("inf"))
        largest = max(largest, float(difference.max()))
        scale = max(scale, float(wanted.abs().max()))
        if names_classes:
            same += int((found.argmax(dim=1) == wanted.argmax(dim=1)).sum())
    share = same / len(images) if names_classes else None
    close = largest <= max(_TOLERANCE * scale, _ROUNDING)
    if quantised:
        agrees = (close if share is None else share >= _SAME_CLASS_INT8) and math.isfinite(largest)
    else:
        agrees = close
    return Agreement(len(images), largest, scale, share, bool(agrees))


@torch.inference_mode()
def time_beside(
    file: Answer, student: Answer, shape: Shape, takes: Takes, seconds: float = 2.0
) -> tuple[BesideEager, ...]:
    """Time both in alternation, at batch 1 and at batch 64, on random images.

    Args:
        file: The file, opened.
        student: The student.
        shape: `(h, w, c)` of an image.
        takes: What images come as.
        seconds: For the whole, half of it at each batch size; overrun by what is slower.
    """
    return tuple(
        _timed(file, student, example_images(shape, takes, batch), seconds / 2)
        for batch in (SMALL_BATCH, LARGE_BATCH)
    )


def _timed(file: Answer, student: Answer, images: Tensor, seconds: float) -> BesideEager:
    turns = Turns([(file, [images]), (student, [images])], len(images), images.device, "wall")
    with without_collection():
        turns.take(seconds)
    of_file, of_student = turns.times
    return BesideEager(
        batch=len(images),
        file_ms=timing_of(of_file),
        eager_ms=timing_of(of_student),
        ratio=quartile_ratio(of_student, of_file),
        repeats=len(of_file),
    )
