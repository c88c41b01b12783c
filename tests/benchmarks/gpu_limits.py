"""What a device could do, and how near to it a step comes: peaks, steps, runs trained as one."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from study.distillation import methods
from study.distillation.fused import speedup
from study.distillation.image_data import ImageData, first_rows_per_class
from study.distillation.measurement import LatencyComparison, compare_latency
from study.distillation.precision import Precision
from study.distillation.step_runner import TIMED, WARM_UP, StepRunner
from study.distillation.teacher_source import CachedTeacher
from study.distillation.training import StudentTrainer, TrainingData, TrainingSettings
from tests.benchmarks.gpu_arms import ALPHA, TEMPERATURE, training_data


def peak_tflops(device: torch.device, precision: Precision, side: int, repeats: int = 20) -> float:
    """The most that the device multiplies in the format it trains in: TFLOP/s, best of some."""
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    one = torch.randn(side, side, device=device).to(kind)
    other = torch.randn(side, side, device=device).to(kind)
    for _ in range(3):
        one @ other
    best = float("inf")
    for _ in range(repeats):
        _wait(device)
        start = time.perf_counter()
        one @ other
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best / 1e12


def share_of(data: ImageData, share: float) -> TrainingData:
    """The first images of each class: a share of what there were before some were held out."""
    whole = training_data(data)
    if share >= 1:
        return whole
    labels = np.concatenate([data.train.labels, data.validation.labels])
    rows = first_rows_per_class(data.train, max(2, round(share * int(np.bincount(labels).min()))))
    return replace(whole, train=data.train.take(rows), rows=rows)


def step_times(
    make: Callable[[], nn.Module],
    data: ImageData,
    settings: TrainingSettings,
    device: torch.device,
    steps: int,
    *,
    compiled: bool,
) -> dict[str, float]:
    """Milliseconds of a training step taken one by one, as a graph, and compiled.

    Beside the last, the seconds until the first compiled steps were taken. A graph needs a GPU.
    """
    found = {"eager_ms": _step_ms(make(), data, settings, device, steps, "to be timed")}
    if device.type == "cuda":
        found["graph_ms"] = _step_ms(make(), data, settings, device, steps, None)
    if compiled:
        start = time.perf_counter()
        network = torch.compile(make())
        why = "torch.compile is timed"
        _step_ms(network, data, settings, device, 3, why)
        found["compile_s"] = time.perf_counter() - start
        found["compiled_ms"] = _step_ms(network, data, settings, device, steps, why)
    return found


def _step_ms(
    student: nn.Module,
    data: ImageData,
    settings: TrainingSettings,
    device: torch.device,
    steps: int,
    eager_because: str | None,
) -> float:
    """Median of the steps after those in which a runner makes up its mind."""
    trainer = _trainer(student, data, settings, device)
    runner = StepRunner(trainer._step, device, eager_because, worthwhile=float("inf"))
    trainer._runner = runner
    times: list[float] = []
    whole = runner.run

    def timed(picks: Tensor, moment: object) -> Tensor:
        _wait(device)
        start = time.perf_counter()
        loss = whole(picks, moment)
        _wait(device)
        times.append(time.perf_counter() - start)
        return loss

    # What is timed is what the trainer does, so the runner is listened to, not replaced.
    runner.run = timed  # type: ignore[method-assign]
    wanted = steps + (2 * (WARM_UP + TIMED) + 1 if eager_because is None else 0)
    while len(times) < wanted:
        trainer.epochs_done = 0
        trainer.run_epoch()
    return 1e3 * float(np.median(times[-steps:]))


def latency_pairs(
    student: nn.Module,
    teacher: nn.Module,
    shape: tuple[int, int, int],
    device: torch.device,
    repeats: int,
) -> dict[str, list[list[float]]]:
    """Two latencies of a student (ms) a repeat, each taken anew as the service confirms it.

    Each is the teacher's first latency over the ratio of the two, by batch size.
    """
    pairs: dict[str, list[list[float]]] = {"batch_1": [], "batch_64": []}
    first: LatencyComparison | None = None
    for _ in range(repeats):
        both = [
            compare_latency(student, teacher, shape, device, idle=True, seconds=0.8, at_most=3.2)
            for _ in range(2)
        ]
        first = first or both[0]
        small, large = first.teacher_batch_1_ms.median, first.teacher_batch_64_ms.median
        pairs["batch_1"].append([small / each.ratio_batch_1.median for each in both])
        pairs["batch_64"].append([large / each.ratio_batch_64.median for each in both])
    return pairs


def fused_speedup(
    students: Sequence[nn.Module],
    data: ImageData,
    settings: Sequence[TrainingSettings],
    device: torch.device,
) -> float:
    """How many times as fast as one after another several runs are trained as one."""
    method = methods.build({"terms": "weighted", "temperature": TEMPERATURE, "alpha": ALPHA})
    shape = (1, len(data.train), data.num_classes)
    teacher = CachedTeacher(np.zeros(shape, dtype=np.float16), device)
    own = [replace(each, views=1) for each in settings]
    return speedup(students, method, training_data(data), teacher, own, device)


def _trainer(
    student: nn.Module, data: ImageData, settings: TrainingSettings, device: torch.device
) -> StudentTrainer:
    method = methods.build({"terms": "weighted", "temperature": TEMPERATURE, "alpha": ALPHA})
    # A training of some steps, whatever the data are: the validation is a batch.
    batch = settings.batch_size
    few = replace(
        training_data(data),
        train=data.train.take(np.arange(min(len(data.train), 8 * batch))),
        validation=data.validation.take(np.arange(min(len(data.validation), batch))),
    )
    shape = (1, len(few.train), data.num_classes)
    teacher = CachedTeacher(np.zeros(shape, dtype=np.float16), device)
    return StudentTrainer(student, method, few, teacher, replace(settings, views=1), device)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
