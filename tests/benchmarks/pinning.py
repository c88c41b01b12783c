"""Whether trainings side by side are faster where each is tied to cores of its own.

    python -m tests.benchmarks.pinning              # about four minutes
    python -m tests.benchmarks.pinning --repeats 12

As many students train at once as there are cores, each on one thread, beside a process that is
busy a tenth of its time, as a driver is: free to move, and each tied to one core, in turn. Printed
are steps a second of all together and the ratio of the two ways, pair by pair.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from typing import Any

from study.environment import describe_environment

# By space: the shape of an image, and how many are in a batch.
STUDENTS: dict[str, tuple[tuple[int, int, int], int]] = {
    "mnist_dense": ((28, 28, 1), 128),
    "cifar_blocks": ((32, 32, 3), 64),
}

_TRAINING = """
import os, sys, time
core = {core}
if core is not None:
    os.sched_setaffinity(0, {{core}})
import torch
from search_spaces.catalogue import load_space
torch.set_num_threads(1)
torch.manual_seed(0)
height, width, channels = {shape}
space = load_space("{space}")
student = space.build_student(space.complete({{}}), 10, {shape})
student = student.to(memory_format=torch.channels_last)
optimiser = torch.optim.AdamW(student.parameters(), lr=1e-3)
images = torch.rand({batch}, channels, height, width).to(memory_format=torch.channels_last)
labels = torch.randint(10, ({batch},))
def step():
    optimiser.zero_grad()
    torch.nn.functional.cross_entropy(student(images), labels).backward()
    optimiser.step()
for _ in range(5):
    step()
print("ready", flush=True)
sys.stdin.readline()
begun, steps = time.perf_counter(), 0
while time.perf_counter() - begun < {seconds}:
    step()
    steps += 1
print(steps / (time.perf_counter() - begun), flush=True)
"""

_DRIVER = """
import time
while True:
    begun = time.perf_counter()
    while time.perf_counter() - begun < 0.02:
        pass
    time.sleep(0.18)
"""


def steps_a_second(space: str, cores: list[int | None], seconds: float) -> float:
    """Train as many students at once as there are `cores`, None for one that may move."""
    shape, batch = STUDENTS[space]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    driver = subprocess.Popen([sys.executable, "-c", _DRIVER])
    trainings = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                _TRAINING.format(core=core, shape=shape, space=space, batch=batch, seconds=seconds),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for core in cores
    ]
    try:
        for training in trainings:  # until all are ready
            _line(training)
        for training in trainings:
            assert training.stdin is not None
            training.stdin.write("\n")
            training.stdin.flush()
        lines = [_line(training) for training in trainings]
    finally:
        for process in (driver, *trainings):
            process.kill()
            process.wait()
    return sum(float(line) for line in lines)


def _line(training: "subprocess.Popen[str]") -> str:
    assert training.stdout is not None
    line = training.stdout.readline()
    if not line:
        raise RuntimeError("a training ended before it was timed")
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each training")
    parser.add_argument("--json", action="store_true", help="one object instead of the table")
    args = parser.parse_args()
    cores: list[int | None] = [*sorted(os.sched_getaffinity(0))]
    rows: dict[str, dict[str, Any]] = {}
    for case in STUDENTS:
        free, tied = [], []
        for repeat in range(args.repeats):
            print(f"{case}, {repeat + 1} of {args.repeats} …", file=sys.stderr)
            free.append(steps_a_second(case, [None] * len(cores), args.seconds))
            tied.append(steps_a_second(case, cores, args.seconds))
        ratios = [one / other for one, other in zip(tied, free, strict=True)]
        rows[case] = {
            "free": statistics.median(free),
            "tied": statistics.median(tied),
            "ratio": statistics.median(ratios),
            "least": min(ratios),
            "most": max(ratios),
        }
    if args.json:
        print(json.dumps(rows))
        return
    about = describe_environment()
    print(f"{about['cpu']}, {about['cores']} cores; {args.repeats} repeats, steps a second of all")
    print("\n| student of | free | tied | tied over free, median | least to most |")
    print("|---|---|---|---|---|")
    for case, row in rows.items():
        print(
            f"| `{case}` | {row['free']:.1f} | {row['tied']:.1f} | {row['ratio']:.2f} "
            f"| {row['least']:.2f} to {row['most']:.2f} |"
        )


if __name__ == "__main__":
    main()
