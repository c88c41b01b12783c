"""The feature term of quantised distillation: the teacher's maps in eight bits."""

import pytest
import torch

from study.distillation import methods
from study.distillation.methods import Answers, MethodError
from study.distillation.methods.quantized import Quantized, fake_quantize

PARAMS = {"method": "quantized", "temperature": 4.0, "alpha": 0.5, "feature_weight": 0.1}


def values(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_values_are_whole_multiples_of_a_scale_that_fits_the_range() -> None:
    exact = values(4, 3, 5, 5)
    scale = exact.abs().max() / 127
    steps = fake_quantize(exact) / scale

    assert torch.allclose(steps, steps.round(), atol=1e-4)
    assert steps.abs().max() == pytest.approx(127)
    assert (fake_quantize(exact) - exact).abs().max() <= scale / 2 * (1 + 1e-5)


def test_a_worked_example() -> None:
    exact = torch.tensor([-12.7, -0.04, 0.0, 0.06, 0.14, 6.38])

    assert torch.allclose(
        fake_quantize(exact), torch.tensor([-12.7, 0.0, 0.0, 0.1, 0.1, 6.4]), atol=1e-6
    )


def test_signs_are_treated_alike_and_rounding_twice_changes_nothing() -> None:
    exact = values(2, 3, 4, 4)
    once = fake_quantize(exact)

    assert torch.equal(fake_quantize(-exact), -once)
    assert torch.allclose(fake_quantize(once), once, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_zeros_stay_zeros_and_narrow_formats_are_widened(dtype: torch.dtype) -> None:
    rounded = fake_quantize(torch.zeros(2, 3, dtype=dtype))

    assert rounded.dtype == torch.float32
    assert torch.equal(rounded, torch.zeros(2, 3))


def test_the_gradient_is_that_of_the_identity() -> None:
    exact = values(3, 4).requires_grad_()
    weights = values(3, 4, seed=1)
    (fake_quantize(exact) * weights).sum().backward()

    assert exact.grad is not None
    assert torch.equal(exact.grad, weights)


def test_the_loss_is_the_hybrid_one_of_rounded_maps() -> None:
    teacher = (values(6, 4, 3, 3, seed=1), values(6, 8, seed=2))
    student = (values(6, 4, 3, 3, seed=3), values(6, 8, seed=4))
    labels = torch.arange(6) % 5

    def loss(method: str, maps: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
        built = methods.build({**PARAMS, "method": method, "taps": "a+b"}).at(0, 1)
        return built.loss(Answers(values(6, 5), labels, values(6, 5, seed=5), student, maps))

    ours = loss("quantized", teacher)
    theirs = loss("hybrid", tuple(fake_quantize(feature) for feature in teacher))
    assert ours.keys() == theirs.keys() == {"loss", "kl", "ce", "features"}
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not torch.equal(ours["features"], loss("hybrid", teacher)["features"])


def test_with_no_weight_of_the_features_it_is_the_response_method() -> None:
    plain = methods.build({**PARAMS, "feature_weight": 0})

    assert plain == methods.build({**PARAMS, "method": "response"})
    assert isinstance(methods.build(PARAMS), Quantized)


def test_the_teachers_maps_are_not_projected() -> None:
    with pytest.raises(MethodError, match="student-to-teacher"):
        methods.build({**PARAMS, "projector": "teacher-to-student"})
