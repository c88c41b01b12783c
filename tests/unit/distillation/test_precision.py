"""bfloat16 is taken where it is native and seen to be faster, and nowhere else."""

import time

import pytest
import torch

from study.distillation import precision
from study.distillation.precision import PrecisionError, bfloat16_speedup, resolve_precision

CPU = torch.device("cpu")


def on_a_processor(
    monkeypatch: pytest.MonkeyPatch, *features: str, speedup: float | None = None
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(features, True))

    def measured() -> float:
        assert speedup is not None, "nothing should have been measured"
        return speedup

    monkeypatch.setattr(precision, "bfloat16_speedup", measured)


def test_without_instructions_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def counted() -> float:
        raise AssertionError("nothing should have been counted")

    on_a_processor(monkeypatch, "avx2", "avx512_f")
    assert resolve_precision("auto", CPU, counted) == "float32"
    assert resolve_precision("float32", CPU) == "float32"
    with pytest.raises(PrecisionError, match="use float32 or auto"):
        resolve_precision("bfloat16", CPU)


@pytest.mark.parametrize("feature", ["avx512_bf16", "amx_bf16"])
@pytest.mark.parametrize(
    ("speedup", "expected"), [(1.8, "bfloat16"), (1.05, "float32"), (0.1, "float32")]
)
def test_with_instructions_the_measurement_decides(
    monkeypatch: pytest.MonkeyPatch, feature: str, speedup: float, expected: str
) -> None:
    on_a_processor(monkeypatch, feature, speedup=speedup)
    assert resolve_precision("auto", CPU) == expected


@pytest.mark.parametrize("work", [50.0, 200.0])
def test_layers_that_compute_much_are_worth_it(
    monkeypatch: pytest.MonkeyPatch, work: float
) -> None:
    on_a_processor(monkeypatch, "avx512_bf16", speedup=1.8)
    assert resolve_precision("auto", CPU, lambda: work) == "bfloat16"


@pytest.mark.parametrize("work", [0.0, 8.0, 30.0])
def test_layers_that_compute_little_are_not_and_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, work: float
) -> None:
    on_a_processor(monkeypatch, "avx512_bf16")
    assert resolve_precision("auto", CPU, lambda: work) == "float32"
    assert resolve_precision("bfloat16", CPU, lambda: work) == "bfloat16"


def test_what_is_asked_for_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_processor(monkeypatch, "amx_bf16")
    assert resolve_precision("bfloat16", CPU) == "bfloat16"
    assert resolve_precision("float32", CPU) == "float32"


def test_a_gpu_that_is_not_there_has_no_instructions() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert resolve_precision("auto", torch.device("cuda")) == "float32"
    with pytest.raises(PrecisionError, match="no bfloat16 instructions"):
        resolve_precision("bfloat16", torch.device("cuda"))


def test_devices_other_than_cpu_and_cuda_stay_with_float32() -> None:
    assert resolve_precision("auto", torch.device("meta")) == "float32"


def test_an_unknown_precision_names_the_known() -> None:
    with pytest.raises(PrecisionError, match="choose auto, float32, bfloat16"):
        resolve_precision("fp16", CPU)


@pytest.mark.skipif(
    not torch.cpu.get_capabilities().get("avx512_bf16"), reason="would be emulated, slowly"
)
def test_the_measurement_is_made_once_is_short_and_draws_no_random_numbers() -> None:
    bfloat16_speedup.cache_clear()
    random_state = torch.get_rng_state()
    start = time.perf_counter()
    speedup = bfloat16_speedup()
    assert time.perf_counter() - start < 5  # 0.1 s on an idle machine
    assert speedup > 0
    assert bfloat16_speedup() == speedup
    assert torch.equal(torch.get_rng_state(), random_state)
