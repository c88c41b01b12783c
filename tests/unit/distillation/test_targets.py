"""What a student learns from: each choice of targets against the loss it stands for."""

import math

import pytest
import torch
from torch import Tensor

from study.distillation.losses import cross_entropy, response_divergence, response_loss
from study.distillation.methods import Answers, Method, MethodError, build
from study.distillation.methods.targets import hard_label_loss

LABELS = torch.arange(16) % 10


def logits(seed: int) -> Tensor:
    return 3 * torch.randn(16, 10, generator=torch.Generator().manual_seed(seed))


def method(targets: str, **params: float) -> Method:
    return build({"method": "targets", "targets": targets, **params})


def test_hard_labels_are_the_cross_entropy_with_the_teachers_likeliest_class_by_hand() -> None:
    # The student gives the teacher's classes, 0 and 2, the probabilities 3/5 and 1/4.
    student = torch.tensor([[math.log(3), 0.0, 0.0], [math.log(2), 0.0, 0.0]])
    teacher = torch.tensor([[0.2, 0.1, -5.0], [-1.0, 3.0, 3.5]])

    expected = -(math.log(3 / 5) + math.log(1 / 4)) / 2

    assert hard_label_loss(student, teacher).item() == pytest.approx(expected, rel=1e-6)


def test_hard_labels_read_neither_the_labels_nor_how_sure_the_teacher_is() -> None:
    student, teacher = logits(0), logits(1)
    loss = method("hard").loss(Answers(student, LABELS, teacher))["loss"]

    assert torch.equal(loss, cross_entropy(student, teacher.argmax(1)))
    assert not torch.equal(loss, cross_entropy(student, LABELS))
    unlabelled = Answers(student, torch.full_like(LABELS, -100), 0.01 * teacher)
    assert torch.equal(method("hard").loss(unlabelled)["loss"], loss)


def test_the_gradient_of_hard_labels_is_softmax_minus_one_hot_and_spares_the_teacher() -> None:
    student = logits(0).double().requires_grad_()
    teacher = logits(1).double().requires_grad_()

    hard_label_loss(student, teacher).backward()

    one_hot = torch.nn.functional.one_hot(teacher.argmax(1), 10)
    expected = (student.detach().softmax(1) - one_hot) / len(student)
    assert student.grad is not None
    assert torch.allclose(student.grad, expected)
    assert teacher.grad is None


def test_soft_targets_are_the_teacher_alone_and_mixed_ones_share_with_the_labels() -> None:
    student, teacher = logits(0), logits(1)
    answers = Answers(student, LABELS, teacher)

    soft = method("soft", temperature=3.5).loss(answers)
    mixed = method("mixed", temperature=3.5, alpha=0.25).loss(answers)

    assert torch.equal(soft["loss"], response_divergence(student, teacher, 3.5))
    assert "ce" not in soft
    assert torch.equal(mixed["loss"], response_loss(student, teacher, LABELS, 3.5, 0.25))


def test_labels_are_the_control_and_all_others_need_the_teacher() -> None:
    assert method("labels") == build({"terms": "ce"})
    assert not method("labels").needs_teacher
    for targets, params in (
        ("soft", {"temperature": 2.0}),
        ("mixed", {"temperature": 2.0, "alpha": 0.5}),
        ("hard", {}),
    ):
        taught = method(targets, **params)
        assert taught.needs_teacher
        assert not taught.needs_network
        with pytest.raises(ValueError, match="teacher"):
            taught.at(0, 1).loss(Answers(logits(0), LABELS, None))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "targets None; choose soft, mixed, hard, labels"),
        ({"targets": "sotf"}, "'sotf'"),
        ({"targets": "mixed", "temperature": 2.0}, "no value for alpha"),
        ({"targets": "soft", "temperature": 0.0}, "temperature must be above 0"),
    ],
)
def test_targets_that_cannot_work_are_refused(params: dict[str, object], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        build({"method": "targets", **params})
