import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search_spaces.networks.resnet import ResidualSpec, build
from study.distillation.measurement import compare_latency
from study.distillation.runtime import RUNTIMES, ServingError, as_runtime, unavailable
from study.distillation.serving import serve

CPU = torch.device("cpu")
SHAPE = (16, 16, 3)


def network() -> nn.Module:
    torch.manual_seed(0)
    return build(ResidualSpec((1, 1, 0, 0), "cifar", 1, 8), 10).eval()


class Unexportable(nn.Module):
    """Its path depends on the values of what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean((2, 3))
        answer: Tensor = self.head(mean) if float(mean.sum()) > 0 else self.head(-mean)
        return answer


@pytest.fixture
def images() -> Tensor:
    made = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return made.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("runtime", ["eager", "onnx"])
def test_a_runtime_answers_as_the_network_does_at_any_batch_size(
    runtime: Any, images: Tensor
) -> None:
    served = serve(network(), SHAPE, CPU, runtime=runtime)
    with torch.no_grad():
        for batch in (images, images[:1]):
            answer = served.forward(served.take(batch))
            found = torch.as_tensor(answer if runtime == "eager" else answer[0])
            assert (found - network()(batch)).abs().max() < 1e-4
    assert served.runtime == runtime


def test_student_and_teacher_are_timed_in_onnx_runtime() -> None:
    result = compare_latency(
        network(), network(), SHAPE, CPU, idle=True, seconds=0.1, runtime="onnx"
    )
    assert result.runtime == "onnx"
    assert result.batch_64_ms.median > result.batch_1_ms.median > 0


@pytest.mark.parametrize(("runtime", "how"), [("onnx", "exported"), ("compiled", "compiled")])
def test_a_network_that_cannot_be_brought_into_a_runtime_is_refused_with_the_mend(
    runtime: Any, how: str
) -> None:
    with pytest.raises(ServingError, match=rf"cannot be {how}.*leave --runtime at eager"):
        compare_latency(
            Unexportable(), network(), SHAPE, CPU, idle=True, seconds=0.1, runtime=runtime
        )


def test_runtimes_have_names() -> None:
    assert [as_runtime(name) for name in RUNTIMES] == list(RUNTIMES)
    with pytest.raises(ValueError, match="no runtime 'tensorrt'"):
        as_runtime("tensorrt")


def test_a_runtime_that_is_not_installed_is_told_with_the_mend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for runtime in RUNTIMES:
        assert unavailable(runtime, on_gpu=False) is None
    assert "run on processors" in (unavailable("onnx", on_gpu=True) or "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "pip install '.[export]'" in (unavailable("onnx", on_gpu=False) or "")
    assert "install g++" in (unavailable("compiled", on_gpu=False) or "")
    assert unavailable("eager", on_gpu=False) is None
