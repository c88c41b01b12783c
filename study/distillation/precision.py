"""Which number format a student is trained in: bfloat16 only where it is faster."""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Precision = Literal["float32", "bfloat16"]
PRECISIONS = ("auto", "float32", "bfloat16")

# A format that only ties is not worth its rounding.
_WORTHWHILE_SPEEDUP = 1.15
# MFLOPs a layer from which a network was found that much faster on a processor: at 34 to 50 of them
# 1.2 to 1.3 times as fast, at 16 to 30 about level, at 8 a sixth slower for casting its weights.
_WORTHWHILE_WORK = 32.0


class PrecisionError(ValueError):
    """The precision asked for is unknown, or the device has no instructions for it."""


def resolve_precision(
    asked: str, device: torch.device, work: Callable[[], float] | None = None
) -> Precision:
    """The precision to train in on `device`.

    `"auto"` takes bfloat16 on a GPU that computes in it natively, and on a processor that has
    instructions for it (AVX512-BF16, AMX-BF16), is seen to be faster with them in a
    measurement of about 0.2 s, made once a process, and has enough to do in each layer to win by
    it; elsewhere, where bfloat16 is emulated at a tenth of the speed, float32. Processes on a busy
    machine may see different speeds: students to be compared should get one answer.

    Args:
        asked: One of `PRECISIONS`.
        device: Where it is trained.
        work: Counts that of the network, as `measurement.work_a_layer` does; called only where it
            decides, and None of one that has enough.

    Raises:
        PrecisionError: `asked` is unknown, or is `"bfloat16"` and the device would emulate it.
    """
    if asked not in PRECISIONS:
        raise PrecisionError(f"no precision {asked!r}; choose {', '.join(PRECISIONS)}")
    if asked == "float32":
        return "float32"
    native = _has_bfloat16(device)
    if asked == "bfloat16":
        if not native:
            raise PrecisionError(f"{device.type} has no bfloat16 instructions; use float32 or auto")
        return "bfloat16"
    if device.type == "cuda":
        return "bfloat16" if native else "float32"
    if not native or (work is not None and work() < _WORTHWHILE_WORK):
        return "float32"
    return "bfloat16" if bfloat16_speedup() >= _WORTHWHILE_SPEEDUP else "float32"


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """The context in which a network runs forward; backward runs outside it."""
    if precision == "float32":
        return nullcontext()  # to enter one of torch's costs a small network a tenth of its pass
    return torch.autocast(device.type, torch.bfloat16)


@contextmanager
def every_digit() -> Iterator[None]:
    """Compute with all of float32's digits, where a GPU's convolutions drop 13 of its 23 bits.

    By default they do (TF32), on Ampere and later, which is what trains and serves.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def as_given(device_type: str) -> AbstractContextManager[None]:
    """The context in which nothing is computed in another format than it is given in.

    Args:
        device_type: Such as `"cpu"`.
    """
    if not torch.is_autocast_enabled(device_type):
        return nullcontext()
    return torch.autocast(device_type, enabled=False)


@functools.cache
def bfloat16_speedup() -> float:
    """How many times faster this processor convolves, forward and backward, in bfloat16.

    Best of five of a 3x3 convolution of 64 channels, the formats in alternation, with the
    current number of threads, in processor time, which other programs hardly change. Uses no
    random numbers, so that it does not disturb seeds.
    """
    ramp = torch.linspace(-1, 1, 16 * 64 * 16 * 16).reshape(16, 64, 16, 16)
    images = ramp.to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.linspace(-1, 1, 64 * 64 * 9).reshape(64, 64, 3, 3)
    weight = weight.to(memory_format=torch.channels_last).requires_grad_()
    seconds: dict[Precision, list[float]] = {"float32": [], "bfloat16": []}
    for _ in range(6):
        for precision, times in seconds.items():
            times.append(_convolve(images, weight, precision))
    # The first of each also prepares the kernels.
    return min(seconds["float32"][1:]) / min(seconds["bfloat16"][1:])


def _convolve(images: Tensor, weight: Tensor, precision: Precision) -> float:
    start = time.process_time()
    with autocast(precision, images.device):
        output = functional.conv2d(images, weight, padding=1)
    torch.autograd.grad(output.float().sum(), (images, weight))
    return time.process_time() - start


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        if not torch.cuda.is_available():
            return False
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        features = torch.cpu.get_capabilities()
        return bool(features.get("avx512_bf16") or features.get("amx_bf16"))
    return False
