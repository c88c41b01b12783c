"""The teacher's answers, stored and living: the same up to rounding, and they teach the same."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from search_spaces.networks.resnet import ResidualSpec, build
from study.distillation import methods
from study.distillation.image_data import Augmentation, Split
from study.distillation.resident import ResidentSplit
from study.distillation.teacher_source import CachedTeacher, LiveTeacher, TeacherSource
from study.distillation.training import (
    EpochMetrics,
    StudentTrainer,
    TrainingData,
    TrainingSettings,
)
from study.distillation.views import apply_view, normalise, view_draws

CLASSES, VIEWS, COUNT, VIEW_SEED = 4, 3, 70, 11
MEAN, STD = (0.4, 0.5, 0.6), (0.25, 0.25, 0.2)
AUGMENTATION = Augmentation(pad=1, flip=True)
GENERATOR = np.random.default_rng(0)
SPLIT = Split(
    GENERATOR.integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8),
    GENERATOR.integers(0, CLASSES, COUNT),
)


def residual(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build(ResidualSpec((1, 1, 0, 0), "cifar", 1, width=8), CLASSES)


def augmented(view: int, rows: Tensor) -> Tensor:
    draws = view_draws(VIEW_SEED, view, COUNT, AUGMENTATION)
    return apply_view(torch.from_numpy(SPLIT.images)[rows], draws.take(rows))


DATA = TrainingData(SPLIT, SPLIT, MEAN, STD, AUGMENTATION)


def trainer(
    teacher: TeacherSource,
    alpha: float = 0.7,
    temperature: float = 3.0,
    data: TrainingData = DATA,
) -> StudentTrainer:
    return StudentTrainer(
        residual(seed=0),
        methods.build({"terms": "weighted", "temperature": temperature, "alpha": alpha}),
        data,
        teacher,
        TrainingSettings(3, 16, 0.1, "onecycle", views=VIEWS, view_seed=VIEW_SEED),
        torch.device("cpu"),
    )


def train(run: StudentTrainer) -> list[EpochMetrics]:
    return [run.run_epoch() for _ in range(3)]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return residual(seed=9).eval().to(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def outputs(network: nn.Module) -> np.ndarray[Any, np.dtype[np.float16]]:
    everything = torch.arange(COUNT)
    with torch.no_grad():
        answers = [network(normalise(augmented(v, everything), MEAN, STD)) for v in range(VIEWS)]
    return torch.stack(answers).half().numpy()


def test_stored_answers_are_the_living_teachers_up_to_rounding(
    network: nn.Module, outputs: Any
) -> None:
    rows = torch.tensor([3, 69, 0, 41])
    images = augmented(1, rows)
    living = LiveTeacher(network, MEAN, STD).answers(1, rows, images)[0]
    stored = CachedTeacher(outputs).answers(1, rows, images)[0]
    assert living.dtype == stored.dtype == torch.float32
    assert not living.requires_grad
    assert torch.allclose(stored, living, rtol=2**-10, atol=1e-5)
    assert not torch.equal(stored, CachedTeacher(outputs).answers(2, rows, images)[0])


def test_both_kinds_of_teacher_teach_the_same(network: nn.Module, outputs: Any) -> None:
    stored = train(trainer(CachedTeacher(outputs)))
    living = train(trainer(LiveTeacher(network, MEAN, STD)))
    assert stored[0].train_loss == pytest.approx(living[0].train_loss, rel=1e-3)
    assert stored[2].train_loss == pytest.approx(living[2].train_loss, rel=2e-2)
    assert stored[0].train_loss != living[0].train_loss


def test_a_living_teacher_is_frozen_and_no_part_of_the_student(network: nn.Module) -> None:
    teacher = residual(seed=9)
    run = trainer(LiveTeacher(teacher, MEAN, STD))
    run.run_epoch()
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    untouched = network.state_dict()
    assert all(torch.equal(value, untouched[name]) for name, value in teacher.state_dict().items())
    assert set(run.state()["model"]) == set(residual(seed=0).state_dict())


def test_a_student_learns_what_its_teacher_says(outputs: Any) -> None:
    """Told by the teacher alone, it comes to agree with a teacher that knows nothing of labels."""
    opinionated = np.zeros_like(outputs)
    opinionated[..., 2] = 8
    run = trainer(CachedTeacher(opinionated), alpha=1.0, temperature=1.0)
    assert train(run)[-1].train_loss < 0.2
    run.student.eval()
    with torch.no_grad():
        answers = run.student(normalise(augmented(0, torch.arange(COUNT)), MEAN, STD)).argmax(1)
    assert (answers == 2).all()


def test_read_only_arrays_are_mapped_without_a_copy_and_without_a_warning(outputs: Any) -> None:
    arrays = [SPLIT.images.copy(), SPLIT.labels.copy(), outputs.copy(), np.arange(COUNT)]
    for array in arrays:
        array.flags.writeable = False
    images, labels, table, rows = arrays
    split = Split(images, labels)
    data = TrainingData(split, split, MEAN, STD, AUGMENTATION, rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resident = ResidentSplit.of(split, torch.device("cpu"))
        trainer(CachedTeacher(table), data=data).run_epoch()
    assert resident.images.data_ptr() == images.ctypes.data
    assert resident.labels.data_ptr() == labels.ctypes.data
