"""Seconds from the command of a study, whose teacher is known, to its first trained epoch.

    python -m tests.benchmarks.launch

Two arms in turn: as it is, every worker forked from one process that has loaded torch; and with
each worker loading it by itself, as Ray has it. The first study of all trains the teacher and is
not counted.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from study.environment import describe_environment

_PLAN = (
    *("--space", "cifar_blocks", "--data", "digits", "--teacher-epochs", "1"),
    *("--trials", "2", "--max-epochs", "2"),
)
_ALONE = (
    "import sys, cluster.forking as forking, study.launch as launch;"
    "forking.can_fork = lambda: False; sys.exit(launch.main(sys.argv[1:]))"
)
ARMS = {"forked": ("-m", "study.launch"), "each loads by itself": ("-c", _ALONE)}


def main() -> None:
    """Run the arms and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    repeats = parser.parse_args().repeats
    about = describe_environment()
    versions = ", ".join(f"{name} {about[name]}" for name in ("python", "torch", "ray"))
    print(f"{about['cpu']}, {about['cores']} cores; {versions}; medians of {repeats}")
    seconds: dict[str, list[tuple[float, float]]] = {arm: [] for arm in ARMS}
    with tempfile.TemporaryDirectory() as folder:
        first_epoch(ARMS["forked"], Path(folder), "teacher")
        for repeat in range(repeats):
            for arm, command in ARMS.items():
                seconds[arm].append(first_epoch(command, Path(folder), f"{len(arm)}-{repeat}"))
    print(
        "| workers | to the first trained epoch, s | least to most | whole study of two trials, s |"
    )
    print("|---|---|---|---|")
    for arm, taken in seconds.items():
        firsts, wholes = zip(*taken, strict=True)
        spread = f"{min(firsts):.1f} to {max(firsts):.1f}"
        print(f"| {arm} | {median(firsts):.1f} | {spread} | {median(wholes):.0f} |")


def first_epoch(command: tuple[str, ...], folder: Path, name: str) -> tuple[float, float]:
    """Run a study; return seconds to its first epoch on record, and to its end."""
    journal = folder / name / "journal.log"
    begun, first = time.perf_counter(), None
    arguments = [*_PLAN, "--name", name, "--studies", str(folder), "--quiet"]
    with subprocess.Popen(
        [sys.executable, *command, *arguments], stdout=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            if first is None and journal.exists() and "epoch:0001" in journal.read_text():
                first = time.perf_counter() - begun
            time.sleep(0.05)
    if process.returncode != 0 or first is None:
        raise SystemExit(f"the study {name} ended with exit code {process.returncode}")
    return first, time.perf_counter() - begun


if __name__ == "__main__":
    main()
