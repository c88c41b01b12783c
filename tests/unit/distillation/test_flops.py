"""FLOPs of layers whose kernels torch's own counter does not know."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from study.distillation.measurement import profile_model

SHAPE = (8, 8, 3)


class Tokens(nn.Module):
    """Gives a layer the 64 pixels of an image as a sequence of vectors."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, images: Tensor) -> Tensor:
        sequence = images.flatten(2).transpose(1, 2).repeat(1, 1, 4)
        answer = self.layer(sequence)
        first: Tensor = answer[0] if isinstance(answer, tuple) else answer
        return first


class OfItself(nn.MultiheadAttention):
    """Attention of a sequence to itself."""

    def forward(self, sequence: Tensor) -> Tensor:  # type: ignore[override]
        answer: Tensor = super().forward(sequence, sequence, sequence)[0]
        return answer


def encoder() -> nn.Module:
    return nn.TransformerEncoder(
        nn.TransformerEncoderLayer(12, 2, 24, batch_first=True), 2, enable_nested_tensor=False
    )


# Multiply-accumulates of an element: weights, and in attention the scores and what they weigh.
_ATTENTION = 4 * 12 * 12 + 2 * 64 * 12
_SEQUENCES: list[tuple[Callable[[], nn.Module], int]] = [
    (encoder, 2 * (_ATTENTION + 2 * 12 * 24)),
    (partial(OfItself, 12, 2, batch_first=True), _ATTENTION),
    (partial(nn.LSTM, 12, 8, batch_first=True), 4 * 8 * (12 + 8)),
    (
        partial(nn.LSTM, 12, 8, 2, batch_first=True, bidirectional=True),
        2 * 4 * 8 * (12 + 8) + 2 * 4 * 8 * (16 + 8),
    ),
    (partial(nn.GRU, 12, 8, batch_first=True), 3 * 8 * (12 + 8)),
]


@pytest.mark.parametrize(("layer", "multiply_accumulates"), _SEQUENCES)
def test_flops_inside_attention_and_recurrent_layers_are_counted(
    layer: Callable[[], nn.Module], multiply_accumulates: int
) -> None:
    flops_m = profile_model(Tokens(layer()), SHAPE).flops_m
    assert flops_m == pytest.approx(2 * 64 * multiply_accumulates / 1e6)
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.gpu
@pytest.mark.parametrize(("layer", "multiply_accumulates"), _SEQUENCES)
def test_flops_on_a_gpu_are_those_on_a_processor(
    layer: Callable[[], nn.Module], multiply_accumulates: int
) -> None:
    flops_m = profile_model(Tokens(layer()).cuda(), SHAPE).flops_m
    assert flops_m == pytest.approx(2 * 64 * multiply_accumulates / 1e6)


def test_a_network_that_cannot_be_counted_leaves_fused_attention_on() -> None:
    with pytest.raises(RuntimeError):
        profile_model(nn.Sequential(nn.Linear(3, 4)), SHAPE)
    assert torch.backends.mha.get_fastpath_enabled()
