"""Subclass distillation against closed forms computed apart from it, and its methods in use."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.special import logsumexp, softmax
from torch import Tensor, nn

from study.distillation.image_data import Augmentation, ImageData, Split
from study.distillation.lesson import Batch, Lesson
from study.distillation.losses import class_logits, response_divergence, response_loss
from study.distillation.methods import Answers, MethodError, build
from study.distillation.methods.subclass import auxiliary_loss, subclass_cross_entropy
from study.distillation.teacher import TeacherRecipe, train_teacher
from study.distillation.teacher_source import CachedTeacher

Doubles = npt.NDArray[np.float64]
CLASSES, SUBCLASSES, BATCH = 3, 4, 16
LABELS = torch.arange(BATCH) % CLASSES
STUDENT = {"method": "subclass", "classes": CLASSES, "temperature": 4.0, "alpha": 0.5}


def logits(seed: int, batch: int = BATCH, columns: int = CLASSES * SUBCLASSES) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(batch, columns, generator=generator, dtype=torch.float64)


def auxiliary_by_numpy(values: Doubles, temperature: float) -> float:
    """The formula as it is published, pair by pair."""
    rows = values - values.mean(axis=1, keepdims=True)
    rows /= np.sqrt(rows.var(axis=1, keepdims=True) + 1e-9)
    count, columns = rows.shape
    exponents = [[a @ b / (temperature * columns) for b in rows] for a in rows]
    return float(np.mean(logsumexp(exponents, axis=1)) - 1 / temperature - math.log(count))


# The auxiliary loss.


@pytest.mark.parametrize("temperature", [0.1, 1.0, 7.0])
@pytest.mark.parametrize(("batch", "columns"), [(1, 2), (2, 10), (16, 12), (64, 4)])
def test_the_auxiliary_loss_is_the_published_formula(
    temperature: float, batch: int, columns: int
) -> None:
    values = logits(0, batch, columns)
    expected = auxiliary_by_numpy(values.numpy(), temperature)
    assert auxiliary_loss(values, temperature).item() == pytest.approx(expected, abs=1e-7)
    assert auxiliary_loss(values.float(), temperature).item() == pytest.approx(expected, abs=1e-5)


def test_two_opposite_rows_by_hand() -> None:
    # v is (1, -1) and (-1, 1): a row is 1 to itself and -1 to the other.
    values = torch.tensor([[5.0, 1.0], [2.0, 9.0]])
    expected = math.log((math.e + 1 / math.e) / 2) - 1
    assert auxiliary_loss(values, 1.0).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("batch", [1, 3, 49, 256])
def test_identical_rows_give_exactly_0(batch: int, dtype: torch.dtype) -> None:
    for scale in (1e-3, 1.0, 1e4):
        row = (scale * logits(1, 1)).to(dtype)
        assert auxiliary_loss(row.repeat(batch, 1), 0.3).item() == 0


@pytest.mark.parametrize("level", [0.0, 7.0, -3e4])
def test_rows_without_any_difference_give_0_and_no_nan(level: float) -> None:
    values = torch.full((8, 6), level, requires_grad=True)
    loss = auxiliary_loss(values, 1.0)
    loss.backward()
    assert loss.item() == 0
    assert values.grad is not None
    assert torch.isfinite(values.grad).all()


def test_a_low_temperature_and_large_logits_stay_finite_and_above_the_best() -> None:
    values = (1e4 * logits(2)).float().requires_grad_()
    loss = auxiliary_loss(values, 1e-3)
    loss.backward()
    assert -math.log(BATCH) - 1e-6 <= loss.item() <= 0
    assert values.grad is not None
    assert torch.isfinite(values.grad).all()


def test_the_best_of_four_rows_points_to_the_corners_of_a_tetrahedron() -> None:
    values = logits(5, 4, 4).requires_grad_()
    optimizer = torch.optim.Adam([values], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        loss = auxiliary_loss(values, 1.0)
        loss.backward()
        optimizer.step()
    assert loss.item() == pytest.approx(math.log((1 + 3 * math.exp(-4 / 3)) / 4), abs=1e-3)


def test_neither_offset_nor_scale_of_a_row_matters() -> None:
    values = logits(3)
    moved = values * torch.linspace(0.5, 4, BATCH)[:, None] + torch.linspace(-9, 9, BATCH)[:, None]
    assert torch.allclose(auxiliary_loss(moved, 1.0), auxiliary_loss(values, 1.0), atol=1e-7)


def test_the_gradients_are_those_of_finite_differences() -> None:
    values = logits(4, 5, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: auxiliary_loss(v, 0.7), (values,))

    for params in (STUDENT, {"method": "subclass-teacher", "classes": 3, "subclass_weight": 0.5}):
        method = build(params)

        def total(student: Tensor, method: Any = method) -> Tensor:
            answers = Answers(student, LABELS[:5], logits(5, 5, 6))
            loss: Tensor = method.at(0, 1).loss(answers)["loss"]
            return loss

        assert torch.autograd.gradcheck(total, (values,))


# Classes and subclasses.


def test_a_class_has_the_summed_probability_of_its_subclasses() -> None:
    values = logits(6)
    summed = softmax(values.numpy(), axis=1).reshape(BATCH, CLASSES, SUBCLASSES).sum(axis=2)
    found = torch.log_softmax(class_logits(values, CLASSES), dim=1)
    assert np.allclose(found.numpy(), np.log(summed), atol=1e-12)


def test_dividing_a_class_leaves_the_probabilities_of_classes_as_they_were() -> None:
    classes = logits(7, BATCH, CLASSES)
    shares = torch.softmax(logits(8).view(BATCH, CLASSES, SUBCLASSES), dim=2)
    divided = (classes[:, :, None] + shares.log()).reshape(BATCH, -1)
    assert torch.allclose(class_logits(divided, CLASSES), classes, atol=1e-12)


# The student.


def test_the_student_s_loss_is_that_of_numpy() -> None:
    student, teacher = logits(9), logits(10)
    s, t, y = student.numpy(), teacher.numpy(), LABELS.numpy()
    targets = softmax(t / 4, axis=1)
    soft = -(targets * (s / 4 - logsumexp(s / 4, axis=1, keepdims=True))).sum(axis=1).mean()
    by_class = logsumexp(s.reshape(BATCH, CLASSES, SUBCLASSES), axis=2)
    hard = (logsumexp(by_class, axis=1) - by_class[np.arange(BATCH), y]).mean()

    terms = build({**STUDENT, "alpha": 0.3}).at(0, 1).loss(Answers(student, LABELS, teacher))

    assert terms["loss"].item() == pytest.approx(0.3 * 16 * soft + 0.7 * hard, rel=1e-9)
    assert terms["subclass_ce"].item() == pytest.approx(16 * soft, rel=1e-9)
    assert terms["ce"].item() == pytest.approx(hard, rel=1e-9)


def test_soft_cross_entropy_is_the_divergence_plus_the_teacher_s_entropy() -> None:
    teacher = logits(11)
    targets = softmax(teacher.numpy() / 3, axis=1)
    entropy = -(targets * np.log(targets)).sum(axis=1).mean()
    gradients = []
    for loss in (subclass_cross_entropy, response_divergence):
        student = logits(12).requires_grad_()
        value = loss(student, teacher, 3.0)
        value.backward()
        assert student.grad is not None
        gradients.append((value.item(), student.grad))
    (cross, ours), (divergence, theirs) = gradients
    assert cross - divergence == pytest.approx(9 * entropy, rel=1e-9)
    assert torch.allclose(ours, theirs, atol=1e-12)


def test_a_term_of_weight_0_is_left_out() -> None:
    student = logits(13)
    nothing = torch.full_like(student, math.nan)
    labels_alone = build({**STUDENT, "alpha": 0.0}).at(0, 1).loss(Answers(student, LABELS, nothing))
    teacher_alone = build({**STUDENT, "alpha": 1.0}).at(0, 1)
    terms = teacher_alone.loss(Answers(student, LABELS, logits(14)))
    assert torch.isfinite(labels_alone["loss"])
    assert "subclass_ce" not in labels_alone
    assert "ce" not in terms


def test_a_teacher_of_other_subclasses_is_refused_rather_than_compared() -> None:
    method = build(STUDENT).at(0, 1)
    with pytest.raises(ValueError, match="answers 12 subclasses and its teacher 6"):
        method.loss(Answers(logits(0), LABELS, logits(1, BATCH, 6)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": None}, "needs a value for classes"),
        ({"classes": 1}, "classes must be a whole number from 2 up"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"alpha": 1.5}, "alpha must lie between 0 and 1"),
        ({"method": "subclass-teacher", "subclass_weight": -1.0}, "subclass_weight must be 0"),
        ({"method": "subclass-teacher", "subclass_temperature": 0.0}, "must be above 0"),
    ],
)
def test_parameters_out_of_range_are_refused_by_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(MethodError, match=words):
        build({**STUDENT, **changes})


def lesson_of(params: dict[str, Any], table: npt.NDArray[np.float16], columns: int) -> Tensor:
    """The loss of a batch of a linear student under a teacher's table."""
    torch.manual_seed(0)
    student = nn.Sequential(nn.Flatten(), nn.Linear(4, columns))
    images = torch.arange(BATCH * 4, dtype=torch.uint8).reshape(BATCH, 1, 2, 2)
    lesson = Lesson(
        build(params),
        student,
        CachedTeacher(table),
        lambda pixels: pixels.float() / 255,
        "float32",
        images[:2],
        CLASSES,
    )
    loss = lesson(Batch(images, LABELS, torch.arange(BATCH), 0, 0, 1))["loss"]
    rows = torch.from_numpy(table[0]).float()
    plain = response_loss(
        student(images.float() / 255), class_logits(rows, CLASSES), LABELS, 4.0, 0.5
    )
    return torch.stack([loss, plain])


def test_conventional_distillation_from_a_teacher_of_subclasses_is_by_its_class_logits() -> None:
    table = logits(15)[None].numpy().astype(np.float16)
    found, by_class = lesson_of({**STUDENT, "method": "response"}, table, CLASSES)
    assert found.item() == by_class.item()


def test_a_student_of_the_same_subclasses_is_taught_by_them() -> None:
    table = logits(15)[None].numpy().astype(np.float16)
    student = torch.zeros(BATCH, CLASSES * SUBCLASSES)  # T² CE of a uniform answer is T² log S
    loss = subclass_cross_entropy(student, torch.from_numpy(table[0]), 4.0)
    assert loss.item() == pytest.approx(16 * math.log(CLASSES * SUBCLASSES), rel=1e-6)
    with pytest.raises(ValueError, match="answers 6 subclasses and its teacher 3"):
        lesson_of(STUDENT, table, 6)


# The teacher.


def quarters() -> ImageData:
    """Images with one light quarter, in two classes: the left half's two, and the right's."""
    draws = np.random.default_rng(0)

    def split(count: int) -> Split:
        kinds = np.arange(count, dtype=np.int64) % 4
        light = np.zeros((4, 2, 4, 2, 4, 1), dtype=np.int64)
        for kind in range(4):
            light[kind, kind % 2, :, kind // 2] = 150
        images = draws.integers(0, 100, (count, 8, 8, 1)) + light.reshape(4, 8, 8, 1)[kinds]
        return Split(images.astype(np.uint8), kinds // 2)

    return ImageData(
        name="quarters",
        classes=("left", "right"),
        train=split(70),
        validation=split(32),
        test=split(32),
        mean=(0.5,),
        std=(0.3,),
        augmentation=Augmentation(pad=0, flip=False),
        content_hash="cd" * 32,
        source="made up",
    )


def test_a_teacher_learns_its_classes_and_the_auxiliary_loss_spreads_its_answers(
    tmp_path: Path,
) -> None:
    data = quarters()
    images = torch.from_numpy(data.validation.images).permute(0, 3, 1, 2)
    spread, used = [], []
    for weight in (0.0, 5.0):
        recipe = TeacherRecipe(
            network="mnist_cnn",
            epochs=30,
            batch_size=14,
            learning_rate=3e-3,
            optimizer="adam",
            schedule="constant",
            subclasses=2,
            subclass_weight=weight,
        )
        trained = train_teacher(
            recipe, data, torch.device("cpu"), 0, lambda epoch: None, tmp_path / f"{weight}.pt"
        )
        assert trained.curve[-1].val_score > 95
        with torch.inference_mode():
            answers = trained.model((images.float() / 255 - 0.5) / 0.3)
        assert answers.shape == (32, 4)
        spread.append(auxiliary_loss(answers, 1.0).item())
        used.append(len(answers.argmax(dim=1).unique()))
    assert spread[1] < spread[0] - 0.05
    assert used[1] > used[0]


def test_epochs_that_are_taught_alike_have_equal_methods() -> None:
    """A step that was captured for one of them serves all."""
    fixed = build(STUDENT)
    assert fixed.at(0, 10) == fixed.at(7, 10)
    falling = build({**STUDENT, "alpha_schedule": "linear", "alpha_end": 0.1})
    assert falling.at(0, 10) != falling.at(7, 10)
