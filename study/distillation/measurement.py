"""How fast and how large a network is: latency beside its teacher's, parameters, FLOPs, bytes.

A latency taken while other work runs says little; the ratio of two networks timed in turn says
much the same whatever the load. So student and teacher are always timed in alternation, and what
is kept is the median of their paired ratios. Whoever goes second finds other caches and another
clock (worth 1 to 2 % on an idle CPU), so pairs come in twos, the second in reverse order, and
each two give one ratio in which that cancels.
"""

import contextlib
import functools
import gc
import io
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

Shape = tuple[int, int, int]
Times = NDArray[np.float64]

_SMALL_BATCH = 1
_LARGE_BATCH = 64
# By batch size: fewest and most pairs, warm-up passes, and inputs in rotation. The fewest hold
# even for a network that overruns the time given; above the most the median no longer moves.
_FEWEST = {_SMALL_BATCH: 20, _LARGE_BATCH: 8}
_MOST = {_SMALL_BATCH: 500, _LARGE_BATCH: 100}
_WARM_UPS = {_SMALL_BATCH: 50, _LARGE_BATCH: 3}
_INPUTS = {_SMALL_BATCH: 7, _LARGE_BATCH: 3}
_WARM_UP_SECONDS = 0.3
_RESAMPLES = 1000


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one forward pass: the median and the 95th percentile of the repeats."""

    median: float
    p95: float


@dataclass(frozen=True)
class Ratio:
    """Inference-time ratio teacher/student: above 1 the student is faster.

    `low` and `high` bound the 95 % bootstrap interval of the median of the paired ratios.
    """

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class LatencyComparison:
    """A student and its teacher timed in alternation on one device, at batch 1 and batch 64.

    Attributes:
        device: As `device_name` says it.
        threads: Threads torch computed with on the CPU.
        precision: Number format of the student's weights.
        idle: Whether nothing else ran on the device, as the caller knows.
        repeats: Pairs timed at batch 1.
        batch_1_ms: The student, one image a pass.
        batch_64_ms: The student, 64 images a pass (ms a pass, not an image).
        teacher_batch_1_ms: The teacher, one image a pass.
        teacher_batch_64_ms: The teacher, 64 images a pass.
        ratio_batch_1: Teacher over student at batch 1.
        ratio_batch_64: Teacher over student at batch 64.
    """

    device: str
    threads: int
    precision: str
    idle: bool
    repeats: int
    batch_1_ms: Timing
    batch_64_ms: Timing
    teacher_batch_1_ms: Timing
    teacher_batch_64_ms: Timing
    ratio_batch_1: Ratio
    ratio_batch_64: Ratio

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class ModelProfile:
    """Size of a network.

    Attributes:
        params_m: Parameters (M).
        flops_m: FLOPs (M) of one image's forward pass; a multiply-accumulate counts as 2.
        bytes: Of its state dict, serialised.
    """

    params_m: float
    flops_m: float
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


def compare_latency(
    student: nn.Module,
    teacher: nn.Module,
    shape: Shape,
    device: torch.device,
    *,
    idle: bool,
    seconds: float = 2.0,
    seed: int = 0,
) -> LatencyComparison:
    """Time both networks' forward pass in strict alternation, at batch 1 and at batch 64.

    Both run in eval and inference mode on normalised float images in channels_last layout, a
    few of them in rotation, the same one for both networks of a pair. Which network goes first
    changes from pair to pair: S T, T S, S T, T S. Afterwards every module is in train or eval
    mode as before; the networks stay on `device`, their weights in channels_last layout.

    Args:
        student: Maps `(batch, c, h, w)` to anything.
        teacher: Likewise.
        shape: `(h, w, c)` of an image.
        device: Where both are timed, and left.
        idle: Whether nothing else runs on the device; only stated in the result.
        seconds: Time for the whole, half of it at each batch size. Overrun where 20 pairs at
            batch 1 and 8 at batch 64 take longer.
        seed: Of the images and the bootstrap.

    Returns:
        Medians and 95th percentiles (ms), and the ratios teacher/student.
    """
    small, large = _time_both_batches([student, teacher], shape, device, seconds, seed)
    return LatencyComparison(
        device=device_name(device),
        threads=torch.get_num_threads(),
        precision=str(_number_format(student)).removeprefix("torch."),
        idle=idle,
        repeats=small.shape[1],
        batch_1_ms=_timing(small[0]),
        batch_64_ms=_timing(large[0]),
        teacher_batch_1_ms=_timing(small[1]),
        teacher_batch_64_ms=_timing(large[1]),
        ratio_batch_1=paired_ratio(small[1], small[0], seed),
        ratio_batch_64=paired_ratio(large[1], large[0], seed),
    )


def measure_alone(
    model: nn.Module, shape: Shape, device: torch.device, seconds: float = 2.0, seed: int = 0
) -> dict[str, Timing]:
    """Time one network by itself, as `compare_latency` does two; for an idle device.

    Returns:
        `"batch_1_ms"` and `"batch_64_ms"`.
    """
    small, large = _time_both_batches([model], shape, device, seconds, seed)
    return {"batch_1_ms": _timing(small[0]), "batch_64_ms": _timing(large[0])}


def paired_ratio(numerator: Times, denominator: Times, seed: int = 0) -> Ratio:
    """Median ratio of times taken in pairs, with its 95 % percentile bootstrap interval.

    Two successive pairs, the second taken in reverse order, count as one ratio: the geometric
    mean of theirs.

    Args:
        numerator: `(pairs,)`, an even number: the teacher's times.
        denominator: `(pairs,)`, the student's, each taken right beside the teacher's.
        seed: Of the resampling.
    """
    pairs = numerator / denominator
    ratios = np.sqrt(pairs[::2] * pairs[1::2])
    chosen = np.random.default_rng(seed).integers(len(ratios), size=(_RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(ratios[chosen], axis=1), [2.5, 97.5])
    return Ratio(float(np.median(ratios)), float(low), float(high))


def profile_model(model: nn.Module, shape: Shape) -> ModelProfile:
    """Count parameters, FLOPs of one image `(h, w, c)`, and bytes of the state dict.

    FLOPs are those of convolutions and matrix products as torch's `FlopCounterMode` counts them:
    one multiply-accumulate is 2 FLOPs; biases, normalisation, activations and pooling are free.
    """
    height, width, channels = shape
    place = next(model.parameters(), torch.empty(0)).device
    image = torch.zeros(1, channels, height, width, dtype=_weights_type(model), device=place)
    # Kernels of its own, that the counter does not know, a network puts down in known steps too.
    counted = getattr(model, "reference", model)
    with in_eval_mode(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        counted(image)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return ModelProfile(
        params_m=sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        flops_m=counter.get_total_flops() / 1e6,
        bytes=file.getbuffer().nbytes,
    )


@functools.cache
def device_name(device: torch.device) -> str:
    """Kind and model of a device, such as "cpu (AMD EPYC)" or "cuda (NVIDIA H100)"."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
                break
    return f"{device.type} ({name})"


def random_images(
    shape: Shape,
    batch: int,
    count: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> list[Tensor]:
    """Random batches like those of a normalised data set; zeros would be faster to multiply.

    Args:
        shape: `(h, w, c)` of an image.
        batch: Images a batch.
        count: How many batches.
        device: Where they lie.
        dtype: Their number format.
        seed: Of their values.

    Returns:
        `count` tensors `(batch, c, h, w)` in channels_last layout.
    """
    height, width, channels = shape
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(count):
        images = torch.randn(batch, channels, height, width, generator=generator)
        batches.append(images.to(device, dtype).contiguous(memory_format=torch.channels_last))
    return batches


@contextlib.contextmanager
def in_eval_mode(*models: nn.Module) -> Iterator[None]:
    """Eval mode for a while; each module returns to its own mode, frozen parts included."""
    before = [(module, module.training) for model in models for module in model.modules()]
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _time_both_batches(
    models: list[nn.Module], shape: Shape, device: torch.device, seconds: float, seed: int
) -> tuple[Times, Times]:
    """Milliseconds `(models, repeats)` at batch 1 and at batch 64."""
    for model in models:
        model.to(device).to(memory_format=torch.channels_last)
    with in_eval_mode(*models), torch.inference_mode(), _without_collection():
        small, large = (
            _time_alternating(models, shape, batch, device, seconds / 2, seed)
            for batch in (_SMALL_BATCH, _LARGE_BATCH)
        )
    return small, large


def _time_alternating(
    models: list[nn.Module],
    shape: Shape,
    batch: int,
    device: torch.device,
    seconds: float,
    seed: int,
) -> Times:
    """Milliseconds `(models, repeats)` of forward passes, the models in turn; repeats are even."""
    start = time.perf_counter()
    kinds = [_weights_type(model) for model in models]
    made = {
        kind: random_images(shape, batch, _INPUTS[batch], device, kind, seed) for kind in set(kinds)
    }
    inputs = [made[kind] for kind in kinds]
    for turn in range(_WARM_UPS[batch]):
        for model, own in zip(models, inputs, strict=True):
            model(own[turn % len(own)])
        _synchronise(device)
        if time.perf_counter() - start > min(_WARM_UP_SECONDS, seconds / 3):
            break
    times = np.empty((len(models), _MOST[batch]))
    for turn in range(_MOST[batch]):
        late = time.perf_counter() - start > seconds
        if late and turn >= _FEWEST[batch] and turn % 2 == 0:
            return times[:, :turn]
        forwards = turn % 2 == 0
        for index in range(len(models)) if forwards else reversed(range(len(models))):
            images = inputs[index][turn % _INPUTS[batch]]
            times[index, turn] = _milliseconds(models[index], images, device)
    return times


def _milliseconds(model: nn.Module, images: Tensor, device: torch.device) -> float:
    if device.type == "cuda":
        start, end = (
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            for _ in range(2)
        )
        torch.cuda.synchronize(device)
        start.record()
        model(images)
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))
    before = time.perf_counter_ns()
    model(images)
    return (time.perf_counter_ns() - before) / 1e6


def _number_format(model: nn.Module) -> torch.dtype:
    """Number format of most of a network's weights, such as int8; float32 if it has none."""
    largest = max(model.parameters(), key=Tensor.numel, default=torch.empty(0))
    return largest.dtype


def _weights_type(model: nn.Module) -> torch.dtype:
    """Number format of what a network computes with outside its kernels; float32 if it has none."""
    kinds = (p.dtype for p in model.parameters() if p.is_floating_point())
    return next(kinds, torch.float32)


def _timing(milliseconds: Times) -> Timing:
    median, p95 = np.percentile(milliseconds, [50, 95])
    return Timing(float(median), float(p95))


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """No garbage collection in the midst of a measurement."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
