"""Runs trained as one: each learns what it learns alone, and goes on alone where it stopped."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from search_spaces.networks import dense
from search_spaces.networks.resnet import ResidualSpec, build
from study.distillation import methods
from study.distillation.fused import CannotFuse, FusedTrainer, speedup
from study.distillation.image_data import Augmentation, Split
from study.distillation.training import (
    CachedTeacher,
    EpochMetrics,
    StudentTrainer,
    TrainingData,
    TrainingSettings,
)
from study.distillation.transfer import Transfer

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
CLASSES, SIDE, VIEWS, RUNS = 4, 8, 3, 3
AUGMENTATION = Augmentation(pad=1, flip=True)
SETTINGS = TrainingSettings(
    epochs=3, batch_size=16, learning_rate=0.05, schedule="onecycle", views=VIEWS, view_seed=11
)
KD = methods.build({"terms": "weighted", "temperature": 3.0, "alpha": 0.7})


def make_split(count: int, seed: int) -> Split:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, count)
    images = generator.integers(0, 150, (count, SIDE, SIDE, 3), dtype=np.uint8)
    images[labels % 2 == 1, :, :, 0] += 60
    images[labels >= 2, :, :, 1] += 60
    return Split(images, labels)


# A last batch of 6: smaller than the others, and no single image.
DATA = TrainingData(
    make_split(70, 0), make_split(50, 1), (0.4, 0.5, 0.6), (0.25, 0.25, 0.2), AUGMENTATION
)
TEACHER = CachedTeacher(
    np.random.default_rng(9).standard_normal((VIEWS, 70, CLASSES)).astype(np.float16)
)


def residual() -> nn.Module:
    return build(ResidualSpec((1, 1, 0, 0), "cifar", 1, width=8), CLASSES)


def perceptron() -> nn.Module:
    return dense.build((SIDE, SIDE, 3), (24,), CLASSES)


def with_dropout() -> nn.Module:
    return dense.build((SIDE, SIDE, 3), (24, 16), CLASSES, dropout=0.4)


def convolutional_with_dropout() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(),
        nn.Linear(288, CLASSES),
    )  # fmt: skip


def students(make: Callable[[], nn.Module], runs: int = RUNS) -> list[nn.Module]:
    made = []
    for run in range(runs):
        torch.manual_seed(run)
        made.append(make())
    return made


def settings_of(settings: TrainingSettings = SETTINGS, runs: int = RUNS) -> list[TrainingSettings]:
    return [replace(settings, seed=100 + run) for run in range(runs)]


def fuse(
    make: Callable[[], nn.Module],
    method: methods.Method = KD,
    settings: TrainingSettings = SETTINGS,
    data: TrainingData = DATA,
) -> FusedTrainer:
    return FusedTrainer(students(make), method, data, TEACHER, settings_of(settings), CPU)


def each_alone(
    make: Callable[[], nn.Module],
    method: methods.Method = KD,
    settings: TrainingSettings = SETTINGS,
    data: TrainingData = DATA,
) -> list[StudentTrainer]:
    return [
        StudentTrainer(student, method, data, TEACHER, own, CPU)
        for student, own in zip(students(make), settings_of(settings), strict=True)
    ]


def assert_alike(fused: list[EpochMetrics | None], alone: list[EpochMetrics]) -> None:
    for one, other in zip(fused, alone, strict=True):
        assert one is not None
        assert (one.epoch, one.learning_rate) == (other.epoch, other.learning_rate)
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-3)
        assert one.val_loss == pytest.approx(other.val_loss, rel=1e-3)
        assert one.val_score == pytest.approx(other.val_score, abs=2.1)  # one image of 50


def assert_same_weights(fused: nn.Module, alone: nn.Module) -> None:
    theirs = alone.state_dict()
    for name, tensor in fused.state_dict().items():
        torch.testing.assert_close(tensor, theirs[name], rtol=2e-3, atol=2e-4, msg=name)


ADAM = replace(SETTINGS, optimizer="adam", learning_rate=2e-3)
# A loss in the hundreds: at a high rate the last digits of two kernels soon make two trainings.
GENTLE = replace(SETTINGS, learning_rate=1e-3)
SCHEDULED = methods.build(
    {"terms": "weighted", "temperature": 5.0, "alpha": 0.9, "temperature_schedule": "exponential",
     "temperature_end": 1.0, "temperature_decay": 0.8}
)  # fmt: skip


@pytest.mark.parametrize(
    ("make", "method", "settings"),
    [
        (residual, KD, SETTINGS),
        (residual, methods.build({"terms": "ce"}), SETTINGS),
        (perceptron, KD, ADAM),
        (with_dropout, KD, ADAM),
        (convolutional_with_dropout, KD, SETTINGS),
        (residual, methods.build({"method": "dkd", "classes": CLASSES}), SETTINGS),
        (perceptron, methods.build({"method": "dist", "classes": CLASSES}), GENTLE),
        (perceptron, methods.build({"method": "logit_std", "classes": CLASSES}), SETTINGS),
        (perceptron, methods.build({"method": "targets", "targets": "hard"}), SETTINGS),
        (perceptron, KD, replace(SETTINGS, view_seed=None)),
        (perceptron, SCHEDULED, SETTINGS),
    ],
)
def test_each_run_learns_what_it_learns_alone(
    make: Callable[[], nn.Module], method: methods.Method, settings: TrainingSettings
) -> None:
    fused, alone = fuse(make, method, settings), each_alone(make, method, settings)
    for _ in range(settings.epochs):
        assert_alike(fused.run_epoch(), [trainer.run_epoch() for trainer in alone])
    for student, trainer in zip(fused.students, alone, strict=True):
        assert_same_weights(student, trainer.student)
    with pytest.raises(RuntimeError, match="all 3 epochs are done"):
        fused.run_epoch()


def test_runs_differ_by_their_seeds() -> None:
    scores = fuse(with_dropout).run_epoch()
    assert len({epoch.train_loss for epoch in scores if epoch is not None}) == RUNS


def test_a_part_of_the_data_keeps_its_rows() -> None:
    rows = np.arange(1, 60, 2)
    data = replace(DATA, train=DATA.train.take(rows), rows=rows)
    fused, alone = fuse(perceptron, data=data), each_alone(perceptron, data=data)
    assert_alike(fused.run_epoch(), [trainer.run_epoch() for trainer in alone])


@pytest.mark.parametrize("settings", [SETTINGS, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("make", [residual, with_dropout])
def test_a_run_that_was_begun_fused_goes_on_alone_and_back(
    make: Callable[[], nn.Module], settings: TrainingSettings
) -> None:
    straight = each_alone(make, settings=settings)
    for trainer in straight:
        for _ in range(3):
            trainer.run_epoch()

    first = fuse(make, settings=settings)
    first.run_epoch()
    middle = each_alone(make, settings=settings)
    for trainer, state in zip(middle, first.states(), strict=True):
        trainer.load_state(state)
        assert trainer.epochs_done == 1
        trainer.run_epoch()
    last = fuse(make, settings=settings)
    last.load_states([trainer.state() for trainer in middle])
    epochs = last.run_epoch()

    assert [epoch.epoch for epoch in epochs if epoch is not None] == [3] * RUNS
    for student, trainer in zip(last.students, straight, strict=True):
        assert_same_weights(student, trainer.student)


def test_resuming_takes_the_very_same_steps() -> None:
    straight = fuse(with_dropout)
    straight.run_epoch()
    resumed = fuse(with_dropout)
    resumed.load_states(straight.states())
    assert [e and e.train_loss for e in straight.run_epoch()] == [
        e and e.train_loss for e in resumed.run_epoch()
    ]
    for one, other in zip(straight.students, resumed.students, strict=True):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name


def test_states_of_other_settings_or_epochs_are_refused() -> None:
    fused = fuse(perceptron)
    states = fused.states()
    with pytest.raises(ValueError, match="2 states after"):
        fused.load_states(states[:2])
    other = fuse(perceptron, settings=replace(SETTINGS, learning_rate=0.02))
    with pytest.raises(ValueError, match=r"reached with learning_rate 0.05, not 0.02"):
        other.load_states(states)
    fused.run_epoch()
    with pytest.raises(ValueError, match=r"after \[0, 1\] epochs"):
        fused.load_states([*states[:2], fused.states()[2]])


def test_one_run_that_diverges_leaves_the_others_as_they_are_alone() -> None:
    made, alone = students(perceptron), each_alone(perceptron)
    with torch.no_grad():
        next(made[1].parameters()).fill_(float("nan"))
    fused = FusedTrainer(made, KD, DATA, TEACHER, settings_of(), CPU)
    for _ in range(2):
        first, second, third = fused.run_epoch()
        assert second is None
        expected = [alone[0].run_epoch(), alone[2].run_epoch()]
        assert_alike([first, third], expected)
    assert list(fused.diverged) == [1]
    assert "the loss is nan in epoch 1 at step 1" in str(fused.diverged[1])


class WithNoise(nn.Module):
    """Draws otherwise than by dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(SIDE * SIDE * 3, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        values: Tensor = self.head(images.flatten(1))
        return values + torch.randn_like(values)


class TwoAnswers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(SIDE * SIDE * 3, CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        values = self.head(images.flatten(1))
        return values, values


class SharedDropout(nn.Module):
    """Calls one dropout twice."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(SIDE * SIDE * 3, CLASSES)
        self.dropout = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        values: Tensor = self.dropout(self.head(self.dropout(images.flatten(1))))
        return values


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (WithNoise, "no batched form: .*random"),
        (TwoAnswers, "answers more than logits"),
        (SharedDropout, "not called once each"),
        (lambda: nn.Sequential(nn.Dropout2d(0.2), nn.Flatten(), nn.Linear(192, 4)), "Dropout2d"),
    ],
)
def test_students_that_cannot_be_fused_are_refused_with_the_reason(
    make: Callable[[], nn.Module], word: str
) -> None:
    with pytest.raises(CannotFuse, match=word):
        fuse(make)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"batch_size": 8}, "other settings than their seeds"),
        ({"transfer": Transfer(head_share=0.5)}, "frozen"),
    ],
)
def test_settings_that_cannot_be_fused_are_refused(change: dict[str, Any], word: str) -> None:
    settings = settings_of()
    changed = [replace(own, **change) for own in settings]
    asked = changed if "transfer" in change else [settings[0], *changed[1:]]
    with pytest.raises(CannotFuse, match=word):
        FusedTrainer(students(perceptron), KD, DATA, TEACHER, asked, CPU)


def test_methods_that_ask_for_more_than_logits_are_refused() -> None:
    patient = methods.build({"method": "patient", "temperature": 1.0, "mixup": 1.0})
    with pytest.raises(CannotFuse, match="patient"):
        fuse(perceptron, patient)


def test_one_student_is_no_fusion() -> None:
    with pytest.raises(CannotFuse, match="1 students with 1 settings are no runs"):
        FusedTrainer(students(perceptron, 1), KD, DATA, TEACHER, settings_of(runs=1), CPU)


def test_the_speedup_is_measured_on_copies() -> None:
    made = students(perceptron)
    before = [parameter.clone() for student in made for parameter in student.parameters()]
    ratio = speedup(made, KD, DATA, TEACHER, settings_of(), CPU, steps=4)
    assert 0.05 < ratio < 20
    after = [parameter for student in made for parameter in student.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("make", [residual, with_dropout])
def test_each_run_learns_on_a_gpu_what_it_learns_alone(
    make: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The two ways round differently where products are of ten bits.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    cuda = torch.device("cuda")
    teacher = CachedTeacher(
        np.random.default_rng(9).standard_normal((VIEWS, 70, CLASSES)).astype(np.float16), cuda
    )
    fused = FusedTrainer(students(make), KD, DATA, teacher, settings_of(), cuda)
    alone = [
        StudentTrainer(student, KD, DATA, teacher, own, cuda)
        for student, own in zip(students(make), settings_of(), strict=True)
    ]
    for one, trainer in zip(fused.run_epoch(), alone, strict=True):
        assert one is not None
        assert one.train_loss == pytest.approx(trainer.run_epoch().train_loss, rel=1e-2)
