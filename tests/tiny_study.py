"""A study in small: images made up, a teacher that learnt nothing, students as they were built."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis.results import Latency, ModelSize, Outcome, Ratio, Timing
from search_spaces.cifar_blocks import SPACE
from study.distillation import checkpoint
from study.distillation.image_data import Augmentation, ImageData, Split, assemble
from study.distillation.teacher_network import build_network
from study.distillation.teacher_recipe import TeacherRecipe
from study.proposal import distributions
from study.record import StudyRecord
from study.student import build_student
from study.trial_context import TrialContext, student_file
from study.trial_teacher import TeacherVariant

TEACHER = TeacherRecipe(depths=(1, 1, 1, 1), width_per_group=8, epochs=1, batch_size=8)
SHAPE = (8, 8, 1)
SMALL = {"width": 16, "stem_stride": 1}
SIZE = ModelSize(0.3, 3.0, 1_200_000)


def make_data(
    generator: np.random.Generator, *, train: int = 40, test: int = 10, pad: int = 0
) -> ImageData:
    """Dark and light images, in turn, of which a quarter of the first split validates."""

    def split(count: int) -> Split:
        labels = np.arange(count, dtype=np.int64) % 2
        images = generator.integers(0, 128, (count, *SHAPE), dtype=np.uint8)
        images[labels == 1] += 100
        return Split(images, labels)

    return assemble(
        "tiny",
        ("dark <b>", "light"),
        split(train),
        split(test),
        validation_fraction=0.25,
        augmentation=Augmentation(pad, False),
        source="made here",
    )


def make_context(folder: Path, *, weights: bool = True, **different: Any) -> TrialContext:
    torch.manual_seed(7)
    teacher = build_network(TEACHER, 2, SHAPE)
    state = {name: value.numpy() for name, value in teacher.state_dict().items()}
    shared: dict[str, Any] = {
        **{"space": SPACE, "data": make_data(np.random.default_rng(0)), "reduced_rows": {}},
        "teacher": TeacherVariant(TEACHER, weights=state if weights else None),
        **{"teacher_ms": 10.0, "folder": str(folder), "epochs": 1, "views": 1, "seed": 0},
        **{"precision": "float32", "threads": 1, "on_gpu": False},
    }
    return TrialContext(**{**shared, **different})


def latency(ratio: float) -> Latency:
    both, timing = Ratio(ratio, ratio, ratio), Timing(10.0 / ratio, 10.0 / ratio)
    teacher = Timing(10.0, 10.0)
    return Latency("cpu", 1, "float32", True, 9, timing, timing, teacher, teacher, both, both)


def add_student(
    record: StudyRecord,
    context: TrialContext,
    score: float,
    ratio: float,
    source: str = "sampler",
    paced_by: str = "teacher",
    **overrides: Any,
) -> int:
    """Add a complete trial with its student; returns its number."""
    params = SPACE.complete({**SMALL, **overrides})
    number = record.add_trial(
        params,
        distributions(SPACE, params),
        source=source,
        label="default" if source == "preset" else None,
        architecture=SPACE.describe(params),
        epochs=1,
    )
    at = "2026-01-01T00:00:00+00:00"
    record.measured(number, SIZE, replace(latency(ratio), paced_by=paced_by))
    record.finish(number, Outcome("complete", None, 1, score, 10.0 / ratio, 1.0, at))
    weights = build_student(context, params).state_dict()
    checkpoint.save(
        student_file(record.folder, number), {"params": dict(params), "weights": dict(weights)}
    )
    return number
