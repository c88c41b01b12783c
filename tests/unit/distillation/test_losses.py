"""The losses against closed forms computed apart from them, and the methods made of them."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax as scipy_log_softmax
from torch import Tensor

from study.distillation.losses import cross_entropy, response_divergence, response_loss
from study.distillation.methods import Answers, MethodError, build


def logits(seed: int, batch: int = 16, classes: int = 10, scale: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(batch, classes, generator=generator)


LABELS = torch.arange(16) % 10


def divergence_by_numpy(student: Tensor, teacher: Tensor, temperature: float) -> float:
    log_p = scipy_log_softmax(teacher.double().numpy() / temperature, axis=1)
    log_q = scipy_log_softmax(student.double().numpy() / temperature, axis=1)
    divergences = np.sum(np.exp(log_p) * (log_p - log_q), axis=1)
    return float(temperature**2 * divergences.mean())


def test_the_divergence_of_two_classes_by_hand() -> None:
    # At T = 2 the teacher answers 3/4 and 1/4, the student 1/2 and 1/2.
    teacher = torch.tensor([[2 * math.log(3), 0.0]])
    student = torch.tensor([[5.0, 5.0]])
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert response_divergence(student, teacher, 2.0).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0, 20.0])
def test_the_divergence_is_that_of_float64_numpy(temperature: float) -> None:
    student, teacher = logits(0), logits(1)
    assert response_divergence(student, teacher, temperature).item() == pytest.approx(
        divergence_by_numpy(student, teacher, temperature), rel=1e-5
    )


def test_the_divergence_is_a_mean_over_the_batch_and_a_sum_over_the_classes() -> None:
    student, teacher = logits(0), logits(1)
    once = response_divergence(student, teacher, 2.0)
    assert torch.allclose(
        response_divergence(student.repeat(3, 1), teacher.repeat(3, 1), 2.0), once
    )
    # Classes that neither network believes in add nothing.
    padding = torch.full((16, 90), -1e4)
    wide = response_divergence(
        torch.cat([student, padding], 1), torch.cat([teacher, padding], 1), 2.0
    )
    assert torch.allclose(wide, once)


def test_a_shift_of_the_logits_changes_nothing() -> None:
    student, teacher = logits(0), logits(1)
    shifted = response_divergence(student + 7.5, teacher - 3.25, 2.0)
    assert torch.allclose(shifted, response_divergence(student, teacher, 2.0), rtol=1e-5)


def test_agreement_costs_nothing_and_disagreement_something() -> None:
    student, teacher = logits(0), logits(1)
    assert response_divergence(student, student + 1.0, 3.0).abs().item() < 1e-6
    assert response_divergence(student, student.clone(), 3.0).item() == 0
    assert response_divergence(student, teacher, 3.0).item() > 0.1


def test_a_high_temperature_matches_centred_logits() -> None:
    """Hinton et al. (2015), eq. 4: for T → ∞, T² KL → ½ · mean over classes of (t̃ - s̃)².

    With softmax(v/T) = (1 + ṽ/T) / C + O(1/T²), ṽ = v - mean(v), the divergence of p = (1 + a) / C
    from q = (1 + b) / C is ½ · Σ (a - b)² / C to second order.
    """
    student, teacher = logits(0).double(), logits(1).double()
    difference = (teacher - teacher.mean(1, True)) - (student - student.mean(1, True))
    expected = 0.5 * difference.square().mean()
    assert torch.allclose(response_divergence(student, teacher, 1e4), expected, rtol=1e-3)


def test_the_gradients_are_right_and_stay_out_of_the_teacher() -> None:
    student = logits(0, batch=4, classes=5).double().requires_grad_()
    teacher = logits(1, batch=4, classes=5).double().requires_grad_()
    labels = torch.tensor([0, 4, 2, 2])
    assert torch.autograd.gradcheck(
        lambda s: response_loss(s, teacher, labels, 2.5, 0.3), (student,)
    )
    response_loss(student, teacher, labels, 2.5, 0.3).backward()
    assert teacher.grad is None


def test_doubles_stay_doubles_and_halves_become_floats() -> None:
    student, teacher = logits(0), logits(1)
    assert response_divergence(student.double(), teacher, 1.0).dtype == torch.float64
    assert response_divergence(student.half(), teacher.half(), 1.0).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_temperatures_stay_finite_in_half_precision_under_autocast(dtype: torch.dtype) -> None:
    # Divided by T = 0.01 these logits leave the range of float16.
    student = logits(0, scale=1000).to(dtype).requires_grad_()
    teacher = logits(1, scale=1000).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        loss = response_loss(student, teacher, LABELS, 0.01, 0.5)
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    loss.backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    exact = divergence_by_numpy(student.detach().float(), teacher.float(), 0.01)
    assert response_divergence(student, teacher, 0.01).item() == pytest.approx(exact, rel=1e-5)


def test_the_weights_of_the_response_loss() -> None:
    student, teacher = logits(0), logits(1)
    ce, kl = cross_entropy(student, LABELS), response_divergence(student, teacher, 4.0)
    mixed = response_loss(student, teacher, LABELS, 4.0, 0.25)
    assert mixed.item() == pytest.approx(0.75 * ce.item() + 0.25 * kl.item(), rel=1e-6)
    assert torch.equal(response_loss(student, teacher, LABELS, 4.0, 0.0), ce)
    assert torch.equal(response_loss(student, teacher, LABELS, 4.0, 1.0), kl)


def test_a_term_of_weight_zero_cannot_spoil_the_other() -> None:
    student, broken = logits(0), torch.full((16, 10), math.nan)
    assert torch.equal(
        response_loss(student, broken, LABELS, 1.0, 0.0), cross_entropy(student, LABELS)
    )
    assert response_loss(student, logits(1), torch.full_like(LABELS, -100), 1.0, 1.0).isfinite()


def test_the_methods_compute_what_they_are_named_after() -> None:
    student, teacher = logits(0), logits(1)
    control = build({"terms": "ce"})
    assert not control.needs_teacher
    assert torch.equal(
        control.loss(Answers(student, LABELS, None))["loss"], cross_entropy(student, LABELS)
    )

    both = build({"terms": "ce+kl", "temperature": 1.0}).loss(Answers(student, LABELS, teacher))
    assert both["loss"].item() == pytest.approx(both["ce"].item() + both["kl"].item(), rel=1e-6)
    assert both["kl"].item() == pytest.approx(divergence_by_numpy(student, teacher, 1.0), rel=1e-5)

    weighted = build({"terms": "weighted", "temperature": 4.0, "alpha": 0.25})
    assert weighted.needs_teacher
    assert torch.equal(
        weighted.loss(Answers(student, LABELS, teacher))["loss"],
        response_loss(student, teacher, LABELS, 4.0, 0.25),
    )
    teacher_alone = build({"terms": "weighted", "temperature": 4.0, "alpha": 1})
    assert set(teacher_alone.loss(Answers(student, LABELS, teacher))) == {"loss", "kl"}


def test_alpha_zero_is_the_control() -> None:
    method = build({"terms": "weighted", "temperature": 4.0, "alpha": 0.0})
    assert method == build({"terms": "ce"})
    assert not method.needs_teacher


def test_a_method_does_not_train_without_its_teacher() -> None:
    with pytest.raises(ValueError, match="teacher"):
        build({"terms": "ce+kl"}).loss(Answers(logits(0), LABELS, None))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "no value for alpha"),
        ({"method": "hint"}, "no method .hint.; choose none, response"),
        ({"terms": "kd"}, "'kd'"),
        ({"terms": "weighted", "temperature": 2.0}, "no value for alpha"),
        ({"terms": "weighted", "alpha": 1.5}, "alpha must lie between 0 and 1, got 1.5"),
        ({"terms": "weighted", "alpha": math.nan}, "alpha.*finite numbers, got nan"),
        ({"terms": "ce+kl", "temperature": 0}, "temperature must be above 0, got 0"),
        ({"terms": "ce+kl", "temperature": "warm"}, "temperature must be a number, got 'warm'"),
    ],
)
def test_a_method_that_cannot_work_is_refused(params: dict[str, object], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        build(params)
