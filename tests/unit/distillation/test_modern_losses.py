"""Decoupled, relational, standardised and label-free losses against formulas written apart."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.special import log_softmax as scipy_log_softmax
from scipy.special import softmax as scipy_softmax
from torch import Tensor

from study.distillation.losses import cross_entropy, response_divergence
from study.distillation.methods import Answers, Method, MethodError, build
from study.distillation.methods.dist import (
    inter_class_relation,
    intra_class_relation,
    pearson_distance,
)
from study.distillation.methods.dkd import non_target_divergence, target_divergence
from study.distillation.methods.logit_std import standardised_divergence
from study.distillation.methods.patient import function_matching

Doubles = npt.NDArray[np.float64]
Divergence = Callable[[Tensor, Tensor, float], Tensor]
LABELS = torch.arange(16) % 10


def logits(seed: int, batch: int = 16, classes: int = 10, scale: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(batch, classes, generator=generator)


def tckd(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return target_divergence(student, teacher, LABELS[: len(student)], temperature)


def nckd(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return non_target_divergence(student, teacher, LABELS[: len(student)], temperature)


DIVERGENCES: list[Divergence] = [
    tckd, nckd, inter_class_relation, intra_class_relation, standardised_divergence,
    function_matching,
]  # fmt: skip


# The formulas again, in float64 numpy and one example at a time


def kl(p: Doubles, q: Doubles) -> float:
    return float(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))


def softened(given: Tensor, temperature: float) -> Doubles:
    return np.asarray(scipy_softmax(given.double().numpy() / temperature, axis=1))


def tckd_by_numpy(student: Tensor, teacher: Tensor, temperature: float) -> float:
    values = []
    for s, t, label in zip(*(softened(x, temperature) for x in (student, teacher)), LABELS.numpy(),
                           strict=True):  # fmt: skip
        values.append(kl(np.array([t[label], 1 - t[label]]), np.array([s[label], 1 - s[label]])))
    return temperature**2 * float(np.mean(values))


def nckd_by_numpy(student: Tensor, teacher: Tensor, temperature: float) -> float:
    values = []
    for s, t, label in zip(*(softened(x, temperature) for x in (student, teacher)), LABELS.numpy(),
                           strict=True):  # fmt: skip
        s, t = np.delete(s, label), np.delete(t, label)
        values.append(kl(t / t.sum(), s / s.sum()))
    return temperature**2 * float(np.mean(values))


def inter_by_numpy(student: Tensor, teacher: Tensor, temperature: float) -> float:
    pairs = zip(softened(student, temperature), softened(teacher, temperature), strict=True)
    return temperature**2 * (1 - float(np.mean([np.corrcoef(s, t)[0, 1] for s, t in pairs])))


def intra_by_numpy(student: Tensor, teacher: Tensor, temperature: float) -> float:
    pairs = zip(softened(student, temperature).T, softened(teacher, temperature).T, strict=True)
    return temperature**2 * (1 - float(np.mean([np.corrcoef(s, t)[0, 1] for s, t in pairs])))


def standardised_by_numpy(student: Tensor, teacher: Tensor, temperature: float) -> float:
    def z(given: Tensor) -> Doubles:
        rows = given.double().numpy()
        return np.stack([(row - row.mean()) / row.std(ddof=1) for row in rows]) / temperature

    log_p, log_q = scipy_log_softmax(z(teacher), axis=1), scipy_log_softmax(z(student), axis=1)
    return temperature**2 * float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
@pytest.mark.parametrize(
    ("loss", "again"),
    [
        (tckd, tckd_by_numpy),
        (nckd, nckd_by_numpy),
        (inter_class_relation, inter_by_numpy),
        (intra_class_relation, intra_by_numpy),
        (standardised_divergence, standardised_by_numpy),
    ],
)
def test_the_losses_are_those_of_float64_numpy(
    loss: Divergence, again: Callable[[Tensor, Tensor, float], float], temperature: float
) -> None:
    student, teacher = logits(0), logits(1)
    expected = again(student, teacher, temperature)
    doubles = loss(student.double(), teacher.double(), temperature).item()
    assert doubles == pytest.approx(expected, rel=1e-6)
    assert loss(student, teacher, temperature).item() == pytest.approx(expected, rel=2e-4)


def test_decoupled_terms_of_three_classes_by_hand() -> None:
    # Label 0. Teacher 1/2, 1/3, 1/6; student 1/4, 1/4, 1/2.
    teacher = torch.tensor([[1 / 2, 1 / 3, 1 / 6]]).log()
    student = torch.tensor([[1 / 4, 1 / 4, 1 / 2]]).log()
    label = torch.tensor([0])
    target = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    others = 2 / 3 * math.log(2) + 1 / 3 * math.log(1 / 2)  # 2/3, 1/3 against 1/3, 2/3
    assert target_divergence(student, teacher, label, 1.0).item() == pytest.approx(target, rel=1e-5)
    assert non_target_divergence(student, teacher, label, 1.0).item() == pytest.approx(
        others, rel=1e-5
    )


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_decoupled_terms_make_up_the_whole_divergence_of_every_example(
    temperature: float,
) -> None:
    for row in range(16):
        student, teacher = logits(0)[[row]].double(), logits(1)[[row]].double()
        label = LABELS[[row]]
        p_y = torch.softmax(teacher / temperature, dim=1)[0, label]
        whole = target_divergence(student, teacher, label, temperature) + (
            1 - p_y
        ) * non_target_divergence(student, teacher, label, temperature)
        assert torch.allclose(whole, response_divergence(student, teacher, temperature))


def test_the_terms_stay_finite_where_the_teacher_is_certain() -> None:
    student = logits(0, scale=100).requires_grad_()
    teacher = torch.zeros(16, 10).scatter_(1, LABELS[:, None], 1e4)
    for loss in DIVERGENCES:
        value = loss(student, teacher, 1.0)
        (gradient,) = torch.autograd.grad(value, student)
        assert value.isfinite(), loss
        assert gradient.isfinite().all(), loss


# What changes nothing


@pytest.mark.parametrize("loss", DIVERGENCES)
def test_agreement_costs_nothing_and_shifts_of_the_logits_change_nothing(loss: Divergence) -> None:
    student, teacher = logits(0).double(), logits(1).double()
    assert loss(student, student.clone(), 3.0).abs().item() < 1e-12
    assert loss(student, teacher, 3.0).item() > 0.1
    shifts = torch.linspace(-5, 5, 16, dtype=torch.float64)[:, None]
    shifted = loss(student + shifts, teacher - 2 * shifts, 3.0)
    assert torch.allclose(shifted, loss(student, teacher, 3.0))


def test_standardised_logits_may_have_any_size_and_place() -> None:
    student, teacher = logits(0).double(), logits(1).double()
    moved = student * torch.linspace(0.5, 20, 16, dtype=torch.float64)[:, None] - 7
    expected = standardised_divergence(student, teacher, 2.0)
    assert torch.allclose(standardised_divergence(moved, teacher, 2.0), expected)
    assert torch.allclose(standardised_divergence(student, 3 * teacher + 1, 2.0), expected)
    assert not torch.allclose(
        response_divergence(moved, teacher, 2.0), response_divergence(student, teacher, 2.0)
    )


@pytest.mark.parametrize("dim", [0, 1])
def test_lines_that_are_affine_in_each_other_correlate_wholly(dim: int) -> None:
    one = logits(0).double()
    shape = [1, 1]
    shape[1 - dim] = one.shape[1 - dim]
    slopes = torch.linspace(0.1, 9, one.shape[1 - dim], dtype=torch.float64).view(shape)
    assert pearson_distance(one, slopes * one - 3 * slopes, dim).item() == pytest.approx(0)
    assert pearson_distance(one, 5 - slopes * one, dim).item() == pytest.approx(2)
    assert pearson_distance(one, slopes * one, 1 - dim).item() > 1e-3


@pytest.mark.parametrize("classes", [3, 10, 100])
@pytest.mark.parametrize("rows", ["all equal", "equal to each other"])
def test_a_line_that_does_not_vary_brings_no_gradient(rows: str, classes: int) -> None:
    """A student may begin so: its correlation would be that of rounding errors, its slope 1e7."""
    student = torch.zeros(8, classes)
    if rows == "equal to each other":
        student = logits(1, 1, classes).expand(8, classes).clone()
    student.requires_grad_()
    inter = inter_class_relation(student, logits(2, 8, classes), 4.0)
    intra = intra_class_relation(student, logits(2, 8, classes), 4.0)
    assert intra.item() == 16.0
    (slope,) = torch.autograd.grad(intra, student, retain_graph=True)
    assert torch.equal(slope, torch.zeros_like(slope))
    (slope,) = torch.autograd.grad(inter, student)
    assert slope.abs().max() < 4
    assert inter.item() == 16.0 or rows == "equal to each other"


def test_the_relations_look_along_different_axes() -> None:
    """Images in another order keep each image's relation of classes, and not that of images."""
    teacher = logits(1).double()
    near = teacher + 0.01 * logits(0).double()
    assert inter_class_relation(near, teacher, 4.0).item() < 1e-3
    once = intra_class_relation(near, teacher, 4.0)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(intra_class_relation(near[order], teacher[order], 4.0), once)
    assert intra_class_relation(near[order], teacher, 4.0) > 100 * once


def test_a_batch_of_equal_rows_and_rows_without_spread_give_no_bad_gradients() -> None:
    for loss in DIVERGENCES:
        for student in (torch.zeros(16, 10), logits(0)[:1].repeat(16, 1)):
            student = student.requires_grad_()
            (gradient,) = torch.autograd.grad(loss(student, logits(1), 2.0), student)
            assert gradient.isfinite().all(), loss


# Limits, gradients, dtypes


def half_squared_difference(student: Tensor, teacher: Tensor) -> Tensor:
    """T² KL for T → ∞, of logits less their mean (Hinton et al. 2015, eq. 4)."""
    centred = (teacher - teacher.mean(1, True)) - (student - student.mean(1, True))
    return 0.5 * centred.square().mean(1)


def test_high_temperatures_match_centred_logits() -> None:
    student, teacher = logits(0).double(), logits(1).double()
    hot = 1e4

    whole = half_squared_difference(student, teacher).mean()
    assert torch.allclose(function_matching(student, teacher, hot), whole, rtol=1e-3)

    z = [(x - x.mean(1, True)) / x.std(1, keepdim=True) for x in (student, teacher)]
    assert torch.allclose(
        standardised_divergence(student, teacher, hot),
        half_squared_difference(z[0], z[1]).mean(),
        rtol=1e-3,
    )

    others = torch.ones(16, 10, dtype=torch.bool).scatter_(1, LABELS[:, None], False)
    rest = [x[others].view(16, 9) for x in (student, teacher)]
    assert torch.allclose(
        non_target_divergence(student, teacher, LABELS, hot),
        half_squared_difference(rest[0], rest[1]).mean(),
        rtol=1e-3,
    )

    # p_y = 1/C + u/(C T), u the centred logit of the label: ½ (u_t - u_s)² / (C - 1) remains.
    u = [(x - x.mean(1, True)).gather(1, LABELS[:, None]) for x in (student, teacher)]
    assert torch.allclose(
        target_divergence(student, teacher, LABELS, hot),
        0.5 * (u[0] - u[1]).square().mean() / 9,
        rtol=1e-3,
    )

    # Probabilities become affine in the logits, so relations become those of the logits.
    assert torch.allclose(
        inter_class_relation(student, teacher, hot) / hot**2,
        pearson_distance(student, teacher, 1),
        rtol=1e-3,
    )


@pytest.mark.parametrize("loss", DIVERGENCES)
def test_the_gradients_are_right_and_stay_out_of_the_teacher(loss: Divergence) -> None:
    student = logits(0, batch=4, classes=5).double().requires_grad_()
    teacher = logits(1, batch=4, classes=5).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher, 2.5), (student,))
    loss(student, teacher, 2.5).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("loss", DIVERGENCES)
def test_half_precision_becomes_float32_and_autocast_is_kept_out(loss: Divergence) -> None:
    student, teacher = logits(0).bfloat16(), logits(1).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(student, teacher, 4.0)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, loss(student.float(), teacher.float(), 4.0))
    assert loss(student.double(), teacher, 4.0).dtype == torch.float64


@pytest.mark.parametrize("loss", DIVERGENCES)
def test_several_students_can_be_judged_at_once(loss: Divergence) -> None:
    students, teacher = torch.stack([logits(seed) for seed in range(3)]), logits(9)
    together = torch.vmap(lambda student: loss(student, teacher, 4.0))(students)
    assert torch.allclose(together, torch.stack([loss(s, teacher, 4.0) for s in students]))


# The methods made of them


def losses(method: Method, student: Tensor, teacher: Tensor | None) -> dict[str, Tensor]:
    return method.loss(Answers(student, LABELS, teacher))


@pytest.mark.parametrize(
    ("params", "weights"),
    [
        ({"method": "dkd"}, {"ce": 1, "tckd": 1, "nckd": 8}),
        ({"method": "dkd", "target_weight": 0}, {"ce": 1, "nckd": 8}),
        ({"method": "dkd", "ce_weight": 0, "non_target_weight": 0}, {"tckd": 1}),
        ({"method": "dist"}, {"ce": 1, "inter": 1, "intra": 1}),
        ({"method": "dist", "ce_weight": 0, "inter_weight": 0}, {"intra": 1}),
        ({"method": "logit_std"}, {"ce": 0.1, "kl": 9}),
        ({"method": "logit_std", "ce_weight": 0}, {"kl": 9}),
        ({"method": "patient"}, {"kl": 1}),
    ],
)
def test_a_method_is_the_weighted_sum_of_its_terms(
    params: dict[str, Any], weights: dict[str, float]
) -> None:
    student, teacher = logits(0), logits(1)
    terms = losses(build(params), student, teacher)
    assert set(terms) == {"loss", *weights}
    total = sum(weight * terms[name].item() for name, weight in weights.items())
    assert terms["loss"].item() == pytest.approx(total, rel=1e-6)


def test_the_defaults_are_the_published_temperatures() -> None:
    student, teacher = logits(0), logits(1)
    assert torch.equal(
        losses(build({"method": "dkd"}), student, teacher)["tckd"], tckd(student, teacher, 4.0)
    )
    assert torch.equal(
        losses(build({"method": "dist"}), student, teacher)["intra"],
        intra_class_relation(student, teacher, 4.0),
    )
    assert torch.equal(
        losses(build({"method": "logit_std"}), student, teacher)["kl"],
        standardised_divergence(student, teacher, 2.0),
    )
    assert torch.equal(
        losses(build({"method": "patient"}), student, teacher)["kl"],
        response_divergence(student, teacher, 1.0),
    )


@pytest.mark.parametrize(
    "params",
    [
        {"method": "dkd", "target_weight": 0, "non_target_weight": 0},
        {"method": "dist", "inter_weight": 0, "intra_weight": 0},
        {"method": "logit_std", "kd_weight": 0, "ce_weight": 1},
    ],
)
def test_without_weight_on_the_teacher_a_method_is_cross_entropy_to_the_last_bit(
    params: dict[str, Any],
) -> None:
    student, broken = logits(0), torch.full((16, 10), math.nan)
    loss = losses(build(params), student, broken)["loss"]
    assert torch.equal(loss, cross_entropy(student, LABELS))


def test_the_warm_up_rises_to_the_full_weight_over_its_share_of_the_epochs() -> None:
    student, teacher = logits(0), logits(1)
    method = build({"method": "dkd", "warmup": 20 / 240, "ce_weight": 0})
    full = losses(build({"method": "dkd", "ce_weight": 0}), student, teacher)["loss"].item()
    shares = [
        losses(method.at(epoch, 240), student, teacher)["loss"].item() / full
        for epoch in (0, 9, 19, 20, 239)
    ]
    assert shares == pytest.approx([1 / 20, 10 / 20, 1, 1, 1], rel=1e-5)
    assert build({"method": "dkd"}).at(0, 240) == build({"method": "dkd"})


def test_the_patient_teacher_asks_for_mixed_images_and_the_network_only_while_it_mixes() -> None:
    mixing, plain = build({"method": "patient"}), build({"method": "patient", "mixup": 0})
    assert mixing.needs_network
    assert not plain.needs_network
    assert not build({"method": "dkd"}).needs_network


def test_labels_play_no_part_in_function_matching() -> None:
    method, student, teacher = build({"method": "patient"}), logits(0), logits(1)
    nobody = torch.full_like(LABELS, -100)
    assert torch.equal(
        method.loss(Answers(student, nobody, teacher))["loss"],
        losses(method, student, teacher)["loss"],
    )


@pytest.mark.parametrize("name", ["dkd", "dist", "logit_std"])
def test_two_classes_are_refused_by_name(name: str) -> None:
    student, teacher = logits(0, classes=2), logits(1, classes=2)
    message = f"{name} has no signal with 2 classes; use the method response"
    with pytest.raises(MethodError, match=message):
        build({"method": name}).loss(Answers(student, LABELS % 2, teacher))


@pytest.mark.parametrize("loss", [inter_class_relation, standardised_divergence])
def test_the_losses_refuse_two_classes_too(loss: Divergence) -> None:
    with pytest.raises(ValueError, match="no signal with 2 classes"):
        loss(logits(0, classes=2), logits(1, classes=2), 4.0)


def test_the_terms_of_two_classes_would_say_nothing() -> None:
    """Why they are refused: standardised, any two logits are ±1/√2."""
    from study.distillation.methods.logit_std import standardised

    rows = standardised(logits(0, classes=2).double())
    assert torch.allclose(rows.abs(), torch.full_like(rows, math.sqrt(0.5)))


@pytest.mark.parametrize("name", ["dkd", "dist", "logit_std", "patient"])
def test_no_method_trains_without_its_teacher(name: str) -> None:
    with pytest.raises(ValueError, match="teacher"):
        losses(build({"method": name}), logits(0), None)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"method": "dkd", "temperature": 0}, "temperature must be above 0, got 0"),
        ({"method": "dkd", "warmup": 1.5}, "warmup must lie between 0 and 1, got 1.5"),
        ({"method": "dkd", "target_weight": -1}, "target_weight must be 0 or more, got -1"),
        (
            {"method": "dist", "inter_weight": 0, "intra_weight": 0, "ce_weight": 0},
            "inter_weight, intra_weight, ce_weight are all 0",
        ),
        ({"method": "logit_std", "base_temperature": "hot"}, "must be a number, got 'hot'"),
        ({"method": "logit_std", "kd_weight": math.nan}, "kd_weight must be 0 or more"),
        ({"method": "patient", "mixup": -0.1}, "mixup must be 0 or more, got -0.1"),
    ],
)
def test_parameters_out_of_range_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        build(params)
