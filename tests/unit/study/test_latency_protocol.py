import math
import statistics

import pytest

from search_spaces.catalogue import load_space
from study import runtime_check
from study.arguments import parser
from study.confirmation import spread_of_equals
from study.plan import PlanError, StudyPlan
from study.resolving import resolve


def plan_of(*arguments: str) -> StudyPlan:
    plan, _ = resolve(parser().parse_args([*arguments, "--data", "digits"]))
    return plan


def check(*arguments: str) -> None:
    plan = plan_of(*arguments)
    runtime_check.check_runtime(plan, load_space(plan.space).with_fixed(plan.fixed))


def test_the_spread_of_equals_is_what_two_of_them_differ_by_in_95_of_100_cases() -> None:
    latencies = [1.00, 1.01, 0.99, 1.02, 0.98]
    ratios, spread = spread_of_equals(latencies)
    deviation = statistics.stdev(map(math.log, latencies))
    assert spread == pytest.approx(math.expm1(2.7764 * math.sqrt(2) * deviation), rel=1e-3)
    assert statistics.fmean(map(math.log, ratios)) == pytest.approx(0)
    assert ratios[0] / ratios[1] == pytest.approx(1.00 / 1.01)
    assert spread_of_equals([2.0, 2.0, 2.0])[1] == 0.0


def test_the_spread_does_not_depend_on_the_unit() -> None:
    one, thousand = (spread_of_equals([s * 1.0, s * 1.1, s * 0.9])[1] for s in (1.0, 1000.0))
    assert one == pytest.approx(thousand)


def test_a_runtime_that_is_here_is_taken() -> None:
    for runtime in ("eager", "compiled", "onnx"):
        check("--space", "cifar_blocks", "--runtime", runtime)
    check("--space", "cifar_quantized", "--runtime", "onnx", "--fix", "precision=float32")
    check("--space", "cifar_quantized")


def test_int8_students_are_refused_in_a_runtime_that_cannot_run_them() -> None:
    with pytest.raises(PlanError, match=r"precision=int8.*add --fix precision=float32"):
        check("--space", "cifar_quantized", "--runtime", "compiled")


def test_a_runtime_that_is_not_installed_is_refused_with_the_mend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PlanError, match=r"--runtime onnx: onnx, onnxscript, onnxruntime cannot"):
        check("--space", "cifar_blocks", "--runtime", "onnx")
