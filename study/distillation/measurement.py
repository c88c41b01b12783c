"""How fast and how large a network is: latency beside its teacher's, parameters, FLOPs, bytes.

A latency taken while other work runs says little; the ratio of two networks timed in turn says
much the same whatever the load. So student and teacher are always timed in alternation, in the form
in which they serve (`serving`), on a clock that leaves out what other processes took (`stopwatch`),
small students with a network between them that keeps the time (`metronome`).
The README beside this file has the protocol and what it was measured to be worth.
"""

import contextlib
import functools
import io
import math
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from study.distillation.metronome import keeps_pace, metronome
from study.distillation.ratio import Ratio, Timing, quartile_ratio, timing_of
from study.distillation.runtime import Runtime
from study.distillation.serving import Served, serve, weights_type
from study.distillation.stopwatch import (
    INPUTS,
    LARGE_BATCH,
    SMALL_BATCH,
    Clock,
    Timed,
    Times,
    Turns,
    clock_for,
    without_collection,
)

Shape = tuple[int, int, int]

# Turns at batch 64 of a student that is timed again on the idle device if it comes to matter.
_FEW_TURNS = 4


@dataclass(frozen=True)
class LatencyComparison:
    """A student and its teacher timed in alternation on one device, at batch 1 and batch 64.

    Attributes:
        device: As `device_name` says it.
        threads: Threads torch computed with on the CPU.
        precision: Number format of the student's weights.
        idle: Whether nothing else ran on the device, as the caller knows.
        repeats: Turns timed at batch 1.
        batch_1_ms: The student, one image a pass.
        batch_64_ms: The student, 64 images a pass (ms a pass, not an image).
        teacher_batch_1_ms: The teacher, one image a pass.
        teacher_batch_64_ms: The teacher, 64 images a pass.
        ratio_batch_1: Teacher over student at batch 1.
        ratio_batch_64: Teacher over student at batch 64.
        runtime: What ran both.
        folded: Whether batch norms were folded into the layers before them.
        clock: What passes were timed by: "cpu", "wall" or "events".
        settled: Whether the interval of the ratio at batch 1 came to be narrow enough.
        paced_by: Whom the student was timed against at batch 1: its teacher, or the metronome, by
            way of which its ratio to the teacher is told.
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
    runtime: Runtime
    folded: bool
    clock: Clock
    settled: bool
    paced_by: Literal["teacher", "metronome"] = "teacher"

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class LatencyAlone:
    """A network timed by itself.

    Attributes:
        batch_1_ms: One image a pass.
        batch_64_ms: 64 images a pass (ms a pass, not an image).
        over_metronome: Its ratio to the metronome at batch 1, of the lower quartiles; None where
            that does not keep the time: on a GPU, and on several threads.
    """

    batch_1_ms: Timing
    batch_64_ms: Timing
    over_metronome: float | None


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
    teacher: nn.Module | Served,
    shape: Shape,
    device: torch.device,
    *,
    idle: bool,
    seconds: float = 2.0,
    at_most: float | None = None,
    runtime: Runtime = "eager",
    fold: bool = True,
    teacher_over_metronome: float | None = None,
    seed: int = 0,
) -> LatencyComparison:
    """Time both networks' forward pass in strict alternation, at batch 1 and at batch 64.

    Both run in eval and inference mode on normalised float images, a few of them in rotation, the
    same one for both networks of a turn. Afterwards every module is in train or eval mode as
    before; the networks stay on `device`, weights that were not copied in channels_last layout.

    Args:
        student: Maps `(batch, c, h, w)` to anything.
        teacher: Likewise, or already as it serves, in the same runtime.
        shape: `(h, w, c)` of an image.
        device: Where both are timed, and left.
        idle: Whether nothing else runs on the device, as the result states.
        seconds: Time for the whole, half of it at each batch size. Overrun where 24 turns at
            batch 1 and 8 at batch 64 (4, if other work runs) take longer.
        at_most: More time at batch 1, up to so much for the whole, while the interval of the ratio
            is not under 3 % wide; None for no more.
        runtime: What runs the student.
        fold: Whether batch norms are folded into the layers before them.
        teacher_over_metronome: What the teacher takes of the metronome's time at batch 1, on the
            idle device (`measure_alone`). Given that, a student that keeps the metronome's pace is
            timed against it, and the ratio to the teacher is the product.
        seed: Of the images and the bootstrap.

    Returns:
        Percentiles (ms), and the ratios teacher/student.

    Raises:
        study.distillation.runtime.ServingError: The runtime cannot run one of them.
    """
    served = serve(student, shape, device, runtime=runtime, fold=fold)
    if not isinstance(teacher, Served):
        teacher = serve(teacher, shape, device, runtime=runtime, fold=fold)
    networks = [served, teacher]
    factor = _factor(served, teacher_over_metronome, device)
    with _undisturbed(networks):
        turns = _timed(networks, shape, SMALL_BATCH, device, seed, by_metronome=factor is not None)
        most = (at_most or seconds) - seconds / 2
        small, ratio = _settled(turns, seconds / 2, most, seed, factor)
        turns = _timed(networks, shape, LARGE_BATCH, device, seed)
        turns.take(seconds / 2, None if idle else _FEW_TURNS)
        large = turns.times
    return LatencyComparison(
        device=device_name(device),
        threads=torch.get_num_threads(),
        precision=served.precision,
        idle=idle,
        repeats=len(small[0]),
        batch_1_ms=timing_of(small[0]),
        batch_64_ms=timing_of(large[0]),
        teacher_batch_1_ms=timing_of(small[1]),
        teacher_batch_64_ms=timing_of(large[1]),
        ratio_batch_1=ratio,
        ratio_batch_64=quartile_ratio(large[1], large[0], seed),
        runtime=runtime,
        folded=fold,
        clock=clock_for(device, torch.get_num_threads()),
        settled=ratio.settled,
        paced_by="teacher" if factor is None else "metronome",
    )


def compare_small_batch(
    student: Served,
    teacher: Served,
    shape: Shape,
    device: torch.device,
    *,
    seconds: float,
    at_most: float | None = None,
    teacher_over_metronome: float | None = None,
    seed: int = 0,
) -> Ratio:
    """Time a student as `compare_latency` does, at batch 1 alone.

    With `at_most`, on up to so many seconds while the interval of the ratio is not under 3 % wide.
    """
    networks = [student, teacher]
    factor = _factor(student, teacher_over_metronome, device)
    with _undisturbed(networks):
        turns = _timed(networks, shape, SMALL_BATCH, device, seed, by_metronome=factor is not None)
        return _settled(turns, seconds, at_most or seconds, seed, factor)[1]


def measure_alone(
    model: nn.Module,
    shape: Shape,
    device: torch.device,
    seconds: float = 2.0,
    *,
    at_most: float | None = None,
    runtime: Runtime = "eager",
    fold: bool = True,
    seed: int = 0,
) -> LatencyAlone:
    """Time one network with no teacher beside it, as `compare_latency` does; for an idle device.

    On one thread on a processor it takes turns with the metronome at batch 1, and with `at_most`
    for up to so many seconds while their ratio has not settled.
    """
    served = serve(model, shape, device, runtime=runtime, fold=fold)
    by_metronome = clock_for(device, torch.get_num_threads()) == "cpu"
    with _undisturbed([served]):
        turns = _timed([served], shape, SMALL_BATCH, device, seed, by_metronome=by_metronome)
        over_metronome = None
        if by_metronome:
            most = (at_most or seconds) - seconds / 2
            over_metronome = 1.0 / _settled(turns, seconds / 2, most, seed)[1].median
        else:
            turns.take(seconds / 2)
        small = turns.times
        turns = _timed([served], shape, LARGE_BATCH, device, seed)
        turns.take(seconds / 2)
    return LatencyAlone(timing_of(small[0]), timing_of(turns.times[0]), over_metronome)


def _factor(
    student: Served, teacher_over_metronome: float | None, device: torch.device
) -> float | None:
    """What the student's ratio to the metronome is to be multiplied by; None if it has none."""
    clock = clock_for(device, torch.get_num_threads())
    return teacher_over_metronome if keeps_pace(student.network, clock) else None


def _settled(
    turns: Turns, seconds: float, at_most: float, seed: int, factor: float | None = None
) -> tuple[list[Times], Ratio]:
    """Take turns for so long, and on until the ratio has settled or the time is up.

    The ratio is that of the last network, the teacher or the metronome, times the factor.
    """
    longer, spent = seconds, 0.0
    while True:
        start = time.perf_counter()
        more, times = turns.take(longer), turns.times
        ratio = quartile_ratio(times[-1], times[0], seed).times(factor or 1.0)
        spent += max(longer, time.perf_counter() - start)
        if ratio.settled or not more or spent >= at_most:
            return times, ratio
        longer = min(seconds / 2, at_most - spent)


def profile_model(model: nn.Module, shape: Shape) -> ModelProfile:
    """Count parameters, FLOPs of one image `(h, w, c)`, and bytes of the state dict.

    FLOPs are those of convolutions and matrix products as torch's `FlopCounterMode` counts them,
    those inside attention and recurrent layers too: one multiply-accumulate is 2 FLOPs; biases,
    normalisation, activations and pooling are free.
    """
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return ModelProfile(
        params_m=sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        flops_m=_flops_m(model, shape),
        bytes=file.getbuffer().nbytes,
    )


def work_a_layer(model: nn.Module, shape: Shape, batch_size: int) -> float:
    """MFLOPs that a layer with a matrix of weights computes for a batch, forward; their mean.

    Counted as `profile_model` does. What a number format wins grows with it, and what casting
    weights and calling kernels costs does not.

    Args:
        model: Maps `(batch, c, h, w)` to anything.
        shape: `(h, w, c)` of an image.
        batch_size: Images in the batch.
    """
    layers = sum(1 for parameter in model.parameters() if parameter.dim() > 1)
    return _flops_m(model, shape) * batch_size / max(1, layers)


def _flops_m(model: nn.Module, shape: Shape) -> float:
    height, width, channels = shape
    place = next(model.parameters(), torch.empty(0)).device
    image = torch.zeros(1, channels, height, width, dtype=weights_type(model), device=place)
    # Kernels of its own, that the counter does not know, a network puts down in known steps too.
    counted = getattr(model, "reference", model)
    counter = FlopCounterMode(display=False, custom_mapping=_RECURRENT)
    with in_eval_mode(model), torch.no_grad(), _attention_in_steps(), counter:
        counted(image)
    return float(counter.get_total_flops() / 1e6)


@contextlib.contextmanager
def _attention_in_steps() -> Iterator[None]:
    """Without the fused kernels of attention in eval mode, which the counter does not know."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _recurrent_layer_flops(given: Sequence[int], *args: Any, **_: Any) -> int:
    """FLOPs of oneDNN's kernel, one direction of a layer, from the shapes of what it is given."""
    return _recurrent_flops(given, args[:2])


def _recurrent_flops(
    given: Sequence[int], weights: Sequence[Sequence[int]], *_: Any, **__: Any
) -> int:
    """FLOPs of cuDNN's kernel, of all layers: each matrix meets each element of a sequence once."""
    return 2 * math.prod(given[:-1]) * sum(math.prod(w) for w in weights if len(w) == 2)


# Kernels of recurrent layers that the counter does not know.
_RECURRENT: dict[Any, Any] = {
    torch.ops.aten.mkldnn_rnn_layer: _recurrent_layer_flops,
    torch.ops.aten._cudnn_rnn: _recurrent_flops,
}


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


def _timed(
    networks: list[Served],
    shape: Shape,
    batch: int,
    device: torch.device,
    seed: int,
    *,
    by_metronome: bool = False,
) -> Turns:
    """Networks ready to be timed in turn on random images, the metronome last if it is one."""
    kinds = {served.dtype for served in networks}
    made = {kind: random_images(shape, batch, INPUTS[batch], device, kind, seed) for kind in kinds}
    passes: list[Timed] = [
        (s.forward, [s.take(images) for images in made[s.dtype]]) for s in networks
    ]
    if by_metronome:
        passes.append(metronome())
    clock = clock_for(device, torch.get_num_threads())
    return Turns(passes, batch, device, clock, keeps_time=by_metronome)


@contextlib.contextmanager
def _undisturbed(networks: list[Served]) -> Iterator[None]:
    """Eval and inference mode, and no garbage collection, while networks are timed."""
    with (
        in_eval_mode(*(served.network for served in networks)),
        torch.inference_mode(),
        without_collection(),
    ):
        yield
