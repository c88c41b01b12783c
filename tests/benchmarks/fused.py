"""Runs of one student trained fused against one after another.

    python -m tests.benchmarks.fused                      # this processor, about five minutes
    python -m tests.benchmarks.fused --device cuda
    python -m tests.benchmarks.fused --runs 4 --repeats 1 --steps 4        # a quick look

Random images of the shapes of MNIST and CIFAR-10, random answers of a teacher: what is timed does
not depend on what is learnt. Each figure is the median over the repeats, the spread beside it; each
repeat times two epochs of each way in turn.
"""

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from search_spaces.networks import dense
from search_spaces.networks.resnet import ResidualSpec, build
from study.distillation import methods
from study.distillation.fused import speedup
from study.distillation.image_data import Augmentation, Split
from study.distillation.measurement import device_name
from study.distillation.precision import resolve_precision
from study.distillation.training import CachedTeacher, TrainingData, TrainingSettings

CLASSES = 10


@dataclass(frozen=True)
class Student:
    """A network, the images it sees and how it learns."""

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    batch_size: int
    optimizer: str
    augmentation: Augmentation


def _residual(width: int, stem: str, stride: int) -> Callable[[], nn.Module]:
    spec = ResidualSpec((1, 1, 1, 1), "cifar" if stem == "cifar" else "imagenet", stride, width)
    return lambda: build(spec, CLASSES)


_MNIST, _CIFAR = (28, 28, 1), (32, 32, 3)
_CROPS = Augmentation(4, True)
STUDENTS = (
    Student(
        "dense 784-300-10, batch 32",
        lambda: dense.build(_MNIST, (300,), CLASSES),
        _MNIST,
        32,
        "adam",
        Augmentation(0, False),
    ),
    Student(
        "dense 784-784-784-10, dropout, batch 256",
        lambda: dense.build(_MNIST, (784, 784), CLASSES, dropout=0.3),
        _MNIST,
        256,
        "adam",
        Augmentation(0, False),
    ),
    Student(
        "[1,1,1,1] width 16, CIFAR stem, batch 64", _residual(16, "cifar", 1), _CIFAR, 64, "sgd",
        _CROPS,
    ),
    Student(
        "[1,1,1,1] stride 2, batch 64", _residual(64, "imagenet", 2), _CIFAR, 64, "sgd", _CROPS
    ),
)  # fmt: skip


def ratios(
    student: Student, runs: int, steps: int, repeats: int, device: torch.device
) -> list[float]:
    """How many times as fast as one after another, of each repeat."""
    generator = np.random.default_rng(0)
    count = steps * student.batch_size

    def split(images: int) -> Split:
        pixels = generator.integers(0, 256, (images, *student.shape), dtype=np.uint8)
        return Split(pixels, generator.integers(0, CLASSES, images))

    channels = student.shape[2]
    data = TrainingData(
        split(count), split(64), (0.5,) * channels, (0.25,) * channels, student.augmentation
    )
    teacher = CachedTeacher(
        generator.standard_normal((1, count, CLASSES)).astype(np.float16), device
    )
    settings = TrainingSettings(
        epochs=3,
        batch_size=student.batch_size,
        learning_rate=1e-3,
        schedule="constant",
        optimizer="adam" if student.optimizer == "adam" else "sgd",
        views=1,
        view_seed=0,
        precision=resolve_precision("auto", device),
    )
    method = methods.build({"terms": "weighted", "temperature": 3.0, "alpha": 0.7})
    own = [TrainingSettings(**{**vars(settings), "seed": run}) for run in range(runs)]
    found = []
    for _ in range(repeats):
        torch.manual_seed(0)
        students = [student.make() for _ in range(runs)]
        found.append(speedup(students, method, data, teacher, own, device, steps))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, nargs="+", default=[2, 4, 8], help="trained as one")
    parser.add_argument("--steps", type=int, default=6, help="of an epoch that is timed")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--only", default="", metavar="TEXT", help="students whose name has it")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    args = parser.parse_args()
    device = torch.device(args.device)
    about = f"{device_name(device)}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    shown = sys.stderr if args.json else sys.stdout
    print(f"{about}, Python {platform.python_version()}; medians of {args.repeats}", file=shown)
    print(
        f"{'times as fast fused':44}" + "".join(f"{runs:>4} runs      " for runs in args.runs),
        file=shown,
    )
    found: dict[str, dict[int, list[float]]] = {}
    for student in (one for one in STUDENTS if args.only in one.name):
        print(f"{student.name:44}", end="", flush=True, file=shown)
        found[student.name] = {}
        for runs in args.runs:
            times = ratios(student, runs, args.steps, args.repeats, device)
            found[student.name][runs] = times
            median, low, high = statistics.median(times), min(times), max(times)
            print(f"{median:5.2f} ({low:.2f}-{high:.2f})", end="", flush=True, file=shown)
        print(file=shown)
    if args.json:
        print(json.dumps({"machine": about, "times_as_fast": found}))


if __name__ == "__main__":
    main()
