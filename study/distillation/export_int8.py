"""The rounding of int8 students in ONNX: `QuantizeLinear` and `DequantizeLinear`.

torch's exporter knows no translation of torchao's operators. With these, ONNX Runtime finds the
pattern around each layer and computes in integers.
"""

from collections.abc import Callable
from typing import Any

import torch

# Parameters carry no types where the exporter passes tensors: it takes any of them, then.


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """ONNX functions for torchao's operators, as `torch.onnx.export` takes them."""
    from onnxscript import opset18 as op

    def zero_point(zero: int, dtype: int) -> Any:
        return op.Cast(op.Constant(value_int=zero), to=int(dtype))

    def quantize(x: Any, scale: float, zero: int, low: int, high: int, dtype: int) -> Any:
        return op.QuantizeLinear(x, op.Constant(value_float=scale), zero_point(zero, dtype))

    def dequantize(x: Any, scale: float, zero: int, low: int, high: int, dtype: int) -> Any:
        return op.DequantizeLinear(x, op.Constant(value_float=scale), zero_point(zero, dtype))

    def dequantize_channels(
        x: Any, scales: Any, zeros: Any, axis: int, low: int, high: int, dtype: int
    ) -> Any:
        return op.DequantizeLinear(x, scales, op.Cast(zeros, to=int(dtype)), axis=axis)

    known = torch.ops.quantized_decomposed
    return {
        known.quantize_per_tensor.default: quantize,
        known.dequantize_per_tensor.default: dequantize,
        known.dequantize_per_channel.default: dequantize_channels,
    }
