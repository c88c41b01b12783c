"""What holds of every registered method: its closed form, its invariances, limits and gradients.

The closed forms are written from the papers with scipy and scikit-learn, an example at a time. A
method that is added to the registry needs a case here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.special import logsumexp, softmax
from scipy.stats import entropy, pearsonr, zscore
from sklearn.metrics import log_loss, mean_squared_error
from torch import Tensor

from study.distillation.methods import METHODS, Answers, Method, build

Doubles = npt.NDArray[np.float64]
ClosedForm = Callable[[Doubles, Doubles, npt.NDArray[np.int64]], float]
BATCH, CLASSES = 12, 5
LABELS = torch.arange(BATCH) % CLASSES


def random(seed: int, *shape: int, scale: float = 3.0) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=draws, dtype=torch.float64)


OWN_MAPS = (random(11, BATCH, 4, 3, 3), random(12, BATCH, 6))
TEACHER_MAPS = (random(13, BATCH, 4, 3, 3), random(14, BATCH, 6))


# Closed forms. Rows are logits; all are means over the batch.


def ce(s: Doubles, y: npt.NDArray[np.int64]) -> float:
    return float(log_loss(y, softmax(s, axis=1), labels=list(range(s.shape[1]))))


def kl(s: Doubles, t: Doubles, temperature: float) -> float:
    pairs = zip(softmax(s / temperature, axis=1), softmax(t / temperature, axis=1), strict=True)
    return temperature**2 * float(np.mean([entropy(p_t, p_s) for p_s, p_t in pairs]))


def by_class(s: Doubles, classes: int) -> Doubles:
    return np.asarray(logsumexp(s.reshape(len(s), classes, -1), axis=2))


def dkd(s: Doubles, t: Doubles, y: npt.NDArray[np.int64], temperature: float) -> tuple[float, ...]:
    target, others = [], []
    probabilities = (softmax(x / temperature, axis=1) for x in (s, t))
    for p_s, p_t, label in zip(*probabilities, y, strict=True):
        target.append(entropy([p_t[label], 1 - p_t[label]], [p_s[label], 1 - p_s[label]]))
        # scipy brings both to sum 1
        others.append(entropy(np.delete(p_t, label), np.delete(p_s, label)))
    return temperature**2 * float(np.mean(target)), temperature**2 * float(np.mean(others))


def dist(s: Doubles, t: Doubles, temperature: float) -> tuple[float, float]:
    p_s, p_t = softmax(s / temperature, axis=1), softmax(t / temperature, axis=1)
    inter = np.mean([1 - pearsonr(a, b).statistic for a, b in zip(p_s, p_t, strict=True)])
    intra = np.mean([1 - pearsonr(a, b).statistic for a, b in zip(p_s.T, p_t.T, strict=True)])
    return temperature**2 * float(inter), temperature**2 * float(intra)


def auxiliary(s: Doubles, temperature: float) -> float:
    rows = zscore(s, axis=1)  # by the standard deviation over S, not S - 1
    alike = rows @ rows.T / (temperature * s.shape[1])
    return float(np.mean(logsumexp(alike, axis=1)) - 1 / temperature - np.log(len(s)))


def subclass_ce(s: Doubles, t: Doubles, temperature: float) -> float:
    log_q = s / temperature - logsumexp(s / temperature, axis=1, keepdims=True)
    return -(temperature**2) * float((softmax(t / temperature, axis=1) * log_q).sum(1).mean())


def features(of: Callable[[Doubles], Doubles] = np.asarray) -> float:
    return sum(
        float(mean_squared_error(a.flatten().numpy(), of(b.flatten().numpy())))
        for a, b in zip(OWN_MAPS, TEACHER_MAPS, strict=True)
    )


def rounded(values: Doubles) -> Doubles:
    """To the nearest of 255 even steps over the range, as int8 has them without -128."""
    step = np.abs(values).max() / 127
    return np.asarray(np.rint(values / step) * step)


@dataclass(frozen=True)
class Case:
    """A method under some parameters.

    `unlabelled` and `untaught` change the parameters so that labels, or the teacher's logits, play
    no part; None where there is no such choice.
    """

    params: Mapping[str, Any]
    expected: ClosedForm
    columns: int = CLASSES
    unlabelled: Mapping[str, Any] | None = None
    untaught: Mapping[str, Any] | None = None
    taught: bool = field(default=True)

    def method(self, **changes: Any) -> Method:
        return build({**self.params, "classes": CLASSES, **changes}).at(0, 1)

    def answers(self, student: Tensor, teacher: Tensor, labels: Tensor = LABELS) -> Answers:
        maps = (OWN_MAPS, TEACHER_MAPS) if self.params["method"] in MAPPED else ((), ())
        return Answers(student, labels, teacher if self.taught else None, *maps)

    def total(self, student: Tensor, teacher: Tensor, labels: Tensor = LABELS) -> Tensor:
        return self.method().loss(self.answers(student, teacher, labels))["loss"]


# Methods that compare feature maps.
MAPPED = ("hybrid", "quantized")
ALPHA: dict[str, Any] = {"unlabelled": {"alpha": 1.0}, "untaught": {"alpha": 0.0}}
CASES = {
    "none": Case({"method": "none"}, lambda s, t, y: ce(s, y), taught=False, untaught={}),
    "response": Case(
        {"method": "response", "temperature": 4.0, "alpha": 0.3},
        lambda s, t, y: 0.7 * ce(s, y) + 0.3 * kl(s, t, 4),
        **ALPHA,
    ),
    "response, sum": Case(
        {"method": "response", "terms": "ce+kl", "temperature": 2.0},
        lambda s, t, y: ce(s, y) + kl(s, t, 2),
        untaught={"terms": "ce"},
    ),
    "response, scheduled": Case(
        {"method": "response", "temperature": 4.0, "temperature_schedule": "linear",
         "temperature_end": 2.0, "alpha": 0.3},
        lambda s, t, y: 0.7 * ce(s, y) + 0.3 * kl(s, t, 4),
        **ALPHA,
    ),
    "hybrid": Case(
        {"method": "hybrid", "temperature": 4.0, "alpha": 0.3, "feature_weight": 0.2,
         "taps": "a+b"},
        lambda s, t, y: 0.7 * ce(s, y) + 0.3 * kl(s, t, 4) + 0.2 * features(),
        **ALPHA,
    ),
    "quantized": Case(
        {"method": "quantized", "temperature": 4.0, "alpha": 0.3, "feature_weight": 0.2,
         "taps": "a+b"},
        lambda s, t, y: 0.7 * ce(s, y) + 0.3 * kl(s, t, 4) + 0.2 * features(rounded),
        **ALPHA,
    ),
    "targets, mixed": Case(
        {"method": "targets", "targets": "mixed", "temperature": 4.0, "alpha": 0.3},
        lambda s, t, y: 0.7 * ce(s, y) + 0.3 * kl(s, t, 4),
        **ALPHA,
    ),
    "targets, soft": Case(
        {"method": "targets", "targets": "soft", "temperature": 4.0},
        lambda s, t, y: kl(s, t, 4),
        unlabelled={},
        untaught={"targets": "labels"},
    ),
    "targets, hard": Case(
        {"method": "targets", "targets": "hard"},
        lambda s, t, y: ce(s, t.argmax(axis=1)),
        untaught={"targets": "labels"},
    ),
    "dkd": Case(
        {"method": "dkd", "temperature": 4.0, "target_weight": 0.5, "non_target_weight": 8.0},
        lambda s, t, y: ce(s, y) + float(np.dot((0.5, 8), dkd(s, t, y, 4))),
        untaught={"target_weight": 0, "non_target_weight": 0},
    ),
    "dist": Case(
        {"method": "dist", "temperature": 4.0, "inter_weight": 2.0, "intra_weight": 3.0},
        lambda s, t, y: ce(s, y) + float(np.dot((2, 3), dist(s, t, 4))),
        unlabelled={"ce_weight": 0},
        untaught={"inter_weight": 0, "intra_weight": 0},
    ),
    "logit_std": Case(
        {"method": "logit_std", "base_temperature": 2.0, "kd_weight": 9.0, "ce_weight": 0.1},
        lambda s, t, y: 0.1 * ce(s, y)
        + 9 * kl(zscore(s, axis=1, ddof=1), zscore(t, axis=1, ddof=1), 2),
        unlabelled={"ce_weight": 0},
        untaught={"kd_weight": 0},
    ),
    "patient": Case(
        {"method": "patient", "temperature": 2.0}, lambda s, t, y: kl(s, t, 2), unlabelled={}
    ),
    "subclass": Case(
        {"method": "subclass", "temperature": 4.0, "alpha": 0.3},
        lambda s, t, y: 0.7 * ce(by_class(s, CLASSES), y) + 0.3 * subclass_ce(s, t, 4),
        columns=3 * CLASSES,
        **ALPHA,
    ),
    "subclass-teacher": Case(
        {"method": "subclass-teacher", "subclass_weight": 0.5, "subclass_temperature": 2.0},
        lambda s, t, y: ce(by_class(s, CLASSES), y) + 0.5 * auxiliary(s, 2),
        columns=3 * CLASSES,
        taught=False,
        untaught={},
    ),
}  # fmt: skip


def cases(where: Callable[[Case], bool] = lambda case: True) -> pytest.MarkDecorator:
    kept = {name: case for name, case in CASES.items() if where(case)}
    return pytest.mark.parametrize("case", kept.values(), ids=kept.keys())


def logits(case: Case, *, grad: bool = False) -> tuple[Tensor, Tensor]:
    student, teacher = random(0, BATCH, case.columns), random(1, BATCH, case.columns)
    return student.requires_grad_(grad), teacher


def test_every_registered_method_has_a_case_here() -> None:
    tested = {str(case.params["method"]) for case in CASES.values()}
    # Of several logits an image; what holds of it is in test_exits.
    assert tested | {"self"} == set(METHODS)


@cases()
@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_the_loss_is_its_closed_form(case: Case, scale: float) -> None:
    student, teacher = (scale * rows for rows in logits(case))
    expected = case.expected(student.numpy(), teacher.numpy(), LABELS.numpy())
    assert case.total(student, teacher).item() == pytest.approx(expected, rel=1e-6, abs=1e-7)
    singles = case.total(student.float(), teacher.float()).item()
    assert singles == pytest.approx(expected, rel=1e-3, abs=1e-4)


@cases()
def test_a_constant_added_to_an_image_s_logits_changes_nothing(case: Case) -> None:
    student, teacher = logits(case)
    shift = torch.linspace(-6, 6, BATCH, dtype=torch.float64)[:, None]
    moved = case.total(student + shift, teacher - 2 * shift)
    assert torch.allclose(moved, case.total(student, teacher), rtol=1e-9)


@cases()
def test_neither_the_order_of_the_images_nor_that_of_the_classes_matters(case: Case) -> None:
    student, teacher = logits(case)
    expected = case.total(student, teacher)
    images = torch.randperm(BATCH, generator=torch.Generator().manual_seed(2))
    if not case.answers(student, teacher).features:  # maps stay in their order
        assert torch.allclose(
            case.total(student[images], teacher[images], LABELS[images]), expected
        )

    order = torch.tensor([3, 0, 4, 1, 2])  # of the classes, each with its block of columns
    columns = torch.arange(case.columns).view(CLASSES, -1)[order].flatten()
    renamed = torch.argsort(order)[LABELS]
    assert torch.allclose(case.total(student[:, columns], teacher[:, columns], renamed), expected)


@cases(lambda case: case.params["method"] not in MAPPED)
def test_a_batch_seen_twice_over_is_the_batch(case: Case) -> None:
    student, teacher = logits(case)
    twice = case.total(student.repeat(2, 1), teacher.repeat(2, 1), LABELS.repeat(2))
    assert torch.allclose(twice, case.total(student, teacher))


@cases()
def test_the_gradient_is_that_of_finite_differences_and_spares_the_teacher(case: Case) -> None:
    student, teacher = random(3, 5, case.columns), random(4, 5, case.columns)
    maps = tuple(each[:5].clone().requires_grad_() for each in OWN_MAPS)
    targets = tuple(each[:5] for each in TEACHER_MAPS)
    hybrid = case.params["method"] in MAPPED

    def total(rows: Tensor, *features: Tensor) -> Tensor:
        given = teacher if case.taught else None
        answers = Answers(rows, LABELS[:5], given, features, targets if hybrid else ())
        return case.method().loss(answers)["loss"]

    student.requires_grad_()
    teacher.requires_grad_()
    assert torch.autograd.gradcheck(total, (student, *(maps if hybrid else ())))
    total(student, *(maps if hybrid else ())).backward()
    assert teacher.grad is None


@cases()
def test_equal_images_and_images_without_any_spread_keep_the_gradient_finite(case: Case) -> None:
    _, teacher = logits(case)
    for rows in (random(5, 1, case.columns).repeat(BATCH, 1), torch.zeros(BATCH, case.columns)):
        student = rows.clone().requires_grad_()
        loss = case.total(student, teacher)
        (gradient,) = torch.autograd.grad(loss, student)
        assert loss.isfinite()
        assert gradient.isfinite().all()


@cases(lambda case: case.untaught is not None)
def test_without_weight_on_the_teacher_its_logits_are_not_read(case: Case) -> None:
    assert case.untaught is not None
    student, _ = logits(case)
    method = case.method(**case.untaught)
    broken = torch.full_like(student, torch.nan)
    terms = method.loss(case.answers(student, broken))
    s, y = student.numpy(), LABELS.numpy()
    weight = {"logit_std": 0.1}.get(str(case.params["method"]), 1.0)
    extra = {
        "hybrid": 0.2 * features(),
        "quantized": 0.2 * features(rounded),
        "subclass-teacher": 0.5 * auxiliary(s, 2),
    }
    plain = weight * ce(by_class(s, CLASSES), y) + extra.get(str(case.params["method"]), 0.0)
    assert terms["loss"].item() == pytest.approx(plain, rel=1e-6)


@cases(lambda case: case.unlabelled is not None)
def test_without_weight_on_the_labels_they_are_not_read_and_agreement_teaches_nothing(
    case: Case,
) -> None:
    assert case.unlabelled is not None
    student, _ = logits(case, grad=True)
    nobody = torch.full_like(LABELS, -100)
    answers = case.answers(student, student.detach().clone(), nobody)
    loss = case.method(**case.unlabelled).loss(answers)["loss"]
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.isfinite()
    assert gradient.abs().max() < 1e-9


@cases(lambda case: case.unlabelled is not None and "temperature" in case.params
       and case.params["method"] != "dist")  # fmt: skip
def test_at_a_high_temperature_the_gradient_is_that_of_centred_logits(case: Case) -> None:
    """Hinton et al. (2015), eq. 4: (s̃ - t̃) / (classes · batch), that of half the mean square."""
    assert case.unlabelled is not None
    student, teacher = logits(case, grad=True)
    changes = {**case.unlabelled, "temperature": 1e6, "temperature_schedule": "fixed"}
    loss = case.method(**changes).loss(case.answers(student, teacher))["loss"]
    (gradient,) = torch.autograd.grad(loss, student)
    s, t = student.detach(), teacher
    centred = (s - s.mean(1, keepdim=True)) - (t - t.mean(1, keepdim=True))
    assert torch.allclose(gradient, centred / (case.columns * BATCH), atol=1e-5)


@cases()
def test_the_terms_beside_the_total_are_numbers_without_gradient(case: Case) -> None:
    student, teacher = logits(case, grad=True)
    terms = case.method().loss(case.answers(student, teacher))
    assert terms["loss"].requires_grad
    for name, term in terms.items():
        assert term.dim() == 0, name
        assert term.requires_grad == (name == "loss"), name
