"""How well the same student's latency repeats, alone and beside a training on the other core.

    python -m tests.benchmarks.latency                      # about forty minutes
    python -m tests.benchmarks.latency --quick              # digits, three repeats: four minutes
    python -m tests.benchmarks.latency --data cifar10 --runtime onnx

Three students of a space are timed beside their teacher, twice in each repeat, built anew each
time: as the service does when it confirms (until the ratio has settled, or `--at-most` seconds),
the same by the teacher's pace alone, with no metronome, and simply (`--seconds` on the wall clock,
the median of paired ratios, no pass of its own before a timed one). These take turns, so they meet
the same load. *alone* is the student's latency with no teacher beside it, and how far each way's
lies from that. The process holds one core; where the other is loaded, another process trains there.
"""

import argparse
import contextlib
import functools
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from study.distillation.serving import Served

STUDENTS: dict[str, dict[str, Any]] = {
    "small": {"blocks_1": 1, "blocks_2": 0, "blocks_3": 0, "blocks_4": 0, "width": 16},
    "medium": {"blocks_1": 1, "blocks_2": 1, "blocks_3": 1, "blocks_4": 1, "width": 32},
    "large": {"blocks_1": 2, "blocks_2": 2, "blocks_3": 2, "blocks_4": 2, "stem_stride": 1},
}
DENSE: dict[str, dict[str, Any]] = {
    "small": {"hidden": 16},
    "medium": {"hidden": 300},
    "large": {"hidden": 800},
}
# By data set: the space, the shape of an image, and the students.
CASES: dict[str, tuple[str, tuple[int, int, int], dict[str, dict[str, Any]]]] = {
    "digits": ("cifar_blocks", (8, 8, 3), STUDENTS),
    "cifar10": ("cifar_blocks", (32, 32, 3), STUDENTS),
    "mnist": ("mnist_dense", (28, 28, 1), DENSE),
}
CONDITIONS = {"quiet": 0.03, "other core loaded": 0.06}
_ASKED = 9  # of ten repeats

_TRAINING = """
import os
os.sched_setaffinity(0, {cores})
import torch
from search_spaces.cifar_blocks import SPACE
torch.set_num_threads({threads})
student = SPACE.build_student(SPACE.complete({{}}), 10, (32, 32, 3))
optimiser = torch.optim.SGD(student.parameters(), lr=0.01)
images, labels = torch.randn(64, 3, 32, 32), torch.randint(10, (64,))
print("trains", flush=True)
while True:
    optimiser.zero_grad()
    torch.nn.functional.cross_entropy(student(images), labels).backward()
    optimiser.step()
"""


@dataclass(frozen=True)
class Cell:
    """One student in one condition, timed in one way.

    Attributes:
        pairs: Of each repeat both latencies (ms), each the teacher's over the ratio.
        limit: How far the two may lie apart, as a share.
        bias: Median latency over that of the same way in quiet, less 1; None in quiet.
        alone: Median latency of the student (ms) with no teacher beside it, in the same condition.
    """

    data: str
    student: str
    condition: str
    way: str
    pairs: list[tuple[float, float]]
    limit: float
    bias: float | None
    alone: float

    @property
    def apart(self) -> list[float]:
        """How far the two of each repeat lie apart, as a share of the smaller one."""
        return [max(pair) / min(pair) - 1 for pair in self.pairs]

    @property
    def within(self) -> int:
        """Repeats whose two latencies lie within the limit."""
        return sum(apart <= self.limit for apart in self.apart)

    @property
    def from_alone(self) -> float:
        """How far the median latency lies from the student's alone, as a share of that."""
        return statistics.median(itertools.chain(*self.pairs)) / self.alone - 1

    def to_json(self) -> dict[str, Any]:
        """The fields, and what they come to."""
        return {
            **asdict(self),
            "within": self.within,
            "apart": self.apart,
            "from_alone": self.from_alone,
        }


@contextlib.contextmanager
def loaded(cores: set[int]) -> Iterator[None]:
    """Have a process train on some cores."""
    script = _TRAINING.format(cores=sorted(cores), threads=len(cores))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()


def simply(student: Any, teacher: "Served", shape: Any, seconds: float, at_most: float) -> float:
    """The ratio on the wall clock, as the median of paired ratios, after all of the time."""
    import numpy as np
    import torch

    from study.distillation.measurement import random_images
    from study.distillation.serving import serve

    served = serve(student, shape, torch.device("cpu"), runtime=teacher.runtime)
    images = random_images(shape, 1, 7, torch.device("cpu"))
    networks = [
        (each.forward, [each.take(batch) for batch in images]) for each in (served, teacher)
    ]
    times: list[list[float]] = [[], []]
    with torch.inference_mode():
        for (forward, inputs), turn in itertools.product(networks, range(10)):
            forward(inputs[turn % 7])
        start = time.perf_counter()
        for turn in range(500):
            if turn >= 20 and turn % 2 == 0 and time.perf_counter() - start > seconds:
                break
            for index in (0, 1) if turn % 2 == 0 else (1, 0):
                forward, inputs = networks[index]
                before = time.perf_counter_ns()
                forward(inputs[turn % 7])
                times[index].append((time.perf_counter_ns() - before) / 1e6)
    pairs = np.array(times[1]) / np.array(times[0])
    return float(np.median(np.sqrt(pairs[::2] * pairs[1::2])))


def as_confirmed(
    student: Any,
    teacher: "Served",
    shape: Any,
    seconds: float,
    at_most: float,
    teacher_over_metronome: float | None = None,
) -> float:
    """The ratio as the service takes it; without a metronome, by the teacher's pace."""
    import torch

    from study.distillation.measurement import compare_small_batch
    from study.distillation.serving import serve

    cpu = torch.device("cpu")
    served = serve(student, shape, cpu, runtime=teacher.runtime)
    ratio = compare_small_batch(
        *(served, teacher, shape, cpu),
        seconds=seconds,
        at_most=at_most,
        teacher_over_metronome=teacher_over_metronome,
    )
    return ratio.median


def ways_of(teacher_over_metronome: float | None) -> dict[str, Callable[..., float]]:
    """The ways by their names, each given student, teacher, shape and its seconds."""
    ours = functools.partial(as_confirmed, teacher_over_metronome=teacher_over_metronome)
    return {"simple": simply, "teacher": as_confirmed, "ours": ours}


def measure(
    data: str, repeats: int, seconds: float, at_most: float, runtime: str, cores: list[int]
) -> list[Cell]:
    """Time every student of one data set in each condition and each way."""
    import torch

    from search_spaces.catalogue import load_space
    from study.distillation.measurement import measure_alone
    from study.distillation.runtime import as_runtime
    from study.distillation.serving import serve
    from study.distillation.teacher_network import build_network
    from study.plan import recipe_of

    name_of_space, shape, students = CASES[data]
    space, cpu = load_space(name_of_space), torch.device("cpu")
    torch.manual_seed(0)
    network = build_network(recipe_of(space.teacher_for(data)), 10, shape).eval()
    teacher = serve(network, shape, cpu, runtime=as_runtime(runtime))
    alone = measure_alone(network, shape, cpu, seconds, runtime=as_runtime(runtime))
    teacher_ms, ways = alone.batch_1_ms.p25, ways_of(alone.over_metronome)
    found = []
    quiet: dict[tuple[str, str], float] = {}
    for condition, limit in CONDITIONS.items():
        others = set(cores[1:])
        with loaded(others) if condition != "quiet" else contextlib.nullcontext():
            for name, params in students.items():
                print(f"{data}, {name}, {condition} …", file=sys.stderr)
                taken: dict[str, list[float]] = {way: [] for way in ways}
                by_itself = []
                for _ in range(2 * repeats):
                    student = space.build_student(space.complete(params), 10, shape).eval()
                    timings = measure_alone(
                        student, shape, cpu, seconds, runtime=as_runtime(runtime)
                    )
                    by_itself.append(timings.batch_1_ms.median)
                    for way, ratio in ways.items():
                        student = space.build_student(space.complete(params), 10, shape).eval()
                        found_ratio = ratio(student, teacher, shape, seconds, at_most)
                        taken[way].append(teacher_ms / found_ratio)
                for way, values in taken.items():
                    middle = statistics.median(values)
                    first = quiet.setdefault((name, way), middle)
                    bias = None if condition == "quiet" else middle / first - 1
                    pairs = list(zip(values[::2], values[1::2], strict=True))
                    own = statistics.median(by_itself)
                    found.append(Cell(data, name, condition, way, pairs, limit, bias, own))
    return found


def show(cells: list[Cell]) -> None:
    """Print one line a cell."""
    print(
        f"\n{'':<38}{'way':<8}{'ms':>8}{'apart':>9}{'worst':>8}{'within':>12}{'bias':>8}{'alone':>15}"
    )
    for cell in cells:
        ms = statistics.median(itertools.chain(*cell.pairs))
        bias = "" if cell.bias is None else f"{100 * cell.bias:>+7.1f}%"
        print(
            f"{cell.data + ' ' + cell.student + ', ' + cell.condition:<38}"[:38]
            + f"{cell.way:<8}{ms:>8.3f}{100 * statistics.median(cell.apart):>7.1f}%"
            f"{100 * max(cell.apart):>7.1f}%{cell.within:>5} of {len(cell.pairs)}"
            f" ({100 * cell.limit:.0f}%){bias:>8}"
            f"{cell.alone:>8.3f}{100 * cell.from_alone:>+6.1f}%"
        )
    print(
        "\napart: how far two measurements of the same student lie apart, median and worst of the "
        "repeats;\nwithin: repeats in which they lie within the limit; bias: against the same way "
        "in quiet;\nalone: the student's own latency, and how far this way's is from it.\n"
        f"Asked of `ours`: {_ASKED} of 10 within."
    )


def main() -> None:
    """Take the figures and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="digits alone, three repeats")
    parser.add_argument("--repeats", type=int, help="of two measurements each (default: 10)")
    parser.add_argument("--seconds", type=float, default=0.8, help="of one (default: 0.8)")
    parser.add_argument("--at-most", type=float, default=5.2, help="of one of ours (default: 5.2)")
    parser.add_argument("--data", nargs="+", choices=CASES, help="whose students (default: all)")
    parser.add_argument("--runtime", default="eager", help="eager, compiled or onnx")
    parser.add_argument("--json", action="store_true", help="one object instead of the table")
    args = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        parser.error("one core: there is no other one to be loaded")
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # as a trial's worker
    os.sched_setaffinity(0, {cores[0]})

    from study.environment import describe_environment

    before = os.getloadavg()[0]
    repeats = args.repeats or (3 if args.quick else 10)
    chosen = args.data or (["digits"] if args.quick else list(CASES))
    cells = [
        cell
        for data in chosen
        for cell in measure(data, repeats, args.seconds, args.at_most, args.runtime, cores)
    ]
    about = describe_environment()
    machine = {"cpu": about["cpu"], "cores": len(cores), "load_before": before}
    if args.json:
        body = [cell.to_json() for cell in cells]
        print(json.dumps({"machine": machine, "runtime": args.runtime, "cells": body}))
        return
    print(
        f"{about['cpu']}, {len(cores)} cores, torch {about['torch']}, {args.runtime}; "
        f"load when begun {before:.1f}; {repeats} repeats of two measurements of "
        f"{args.seconds:g} s, ours of up to {args.at_most:g} s"
    )
    show(cells)


if __name__ == "__main__":
    main()
