"""The rounding of int8 students in words that others know: ONNX's operators, and torch's own.

Torchao's graphs hold operators that torch's exporter for ONNX has no translation of, and that a
pt2 file could only be opened with where torchao is installed.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Lowest and highest value of a type, by ONNX's number for it.
_RANGES = {2: (0, 255), 3: (-128, 127)}


def onnx_operators() -> dict[Callable[..., Any], Callable[..., Any]]:
    """ONNX functions for torchao's operators, as `torch.onnx.export` takes them.

    `QuantizeLinear` and `DequantizeLinear` are the pattern by which ONNX Runtime finds the layers
    that it computes in integers.
    """
    from onnxscript import opset18

    # Its types are those of one call each; what these pass on is a part of the graph.
    op: Any = opset18

    def zero_point(zero: int, dtype: int) -> Any:
        return op.Cast(op.Constant(value_int=zero), to=int(dtype))

    def quantize(x: Any, scale: float, zero: int, low: int, high: int, dtype: int) -> Any:
        if (low, high) != _RANGES[int(dtype)]:  # of fewer bits than the type has
            bounds = [op.Constant(value_float=(bound - zero) * scale) for bound in (low, high)]
            x = op.Clip(x, *bounds)
        return op.QuantizeLinear(x, op.Constant(value_float=scale), zero_point(zero, dtype))

    def dequantize(x: Any, scale: float, zero: int, low: int, high: int, dtype: int) -> Any:
        return op.DequantizeLinear(x, op.Constant(value_float=scale), zero_point(zero, dtype))

    def dequantize_channels(
        x: Any, scales: Any, zeros: Any, axis: int, low: int, high: int, dtype: int
    ) -> Any:
        return op.DequantizeLinear(x, scales, op.Cast(zeros, to=int(dtype)), axis=axis)

    return _for_operators(quantize, dequantize, dequantize_channels)


def torch_operators() -> dict[Any, Callable[..., Any]]:
    """What the operators compute, for `ExportedProgram.run_decompositions`."""
    return _for_operators(_quantize, _dequantize, _dequantize_channels)


def _for_operators(quantize: Any, dequantize: Any, dequantize_channels: Any) -> dict[Any, Any]:
    known = torch.ops.quantized_decomposed
    return {
        known.quantize_per_tensor.default: quantize,
        known.dequantize_per_tensor.default: dequantize,
        known.dequantize_per_channel.default: dequantize_channels,
    }


def _quantize(
    x: Tensor, scale: float, zero: int, low: int, high: int, dtype: torch.dtype
) -> Tensor:
    return torch.clamp(torch.round(x * (1.0 / scale)) + zero, low, high).to(dtype)


def _dequantize(
    x: Tensor, scale: float, zero: int, low: int, high: int, dtype: torch.dtype, **_: Any
) -> Tensor:
    return (x.to(torch.float32) - zero) * scale


def _dequantize_channels(
    x: Tensor,
    scales: Tensor,
    zeros: Tensor,
    axis: int,
    low: int,
    high: int,
    dtype: torch.dtype,
    **_: Any,
) -> Tensor:
    shape = [1] * x.dim()
    shape[axis] = -1
    return (x.to(torch.float32) - zeros.view(shape)) * scales.view(shape)
