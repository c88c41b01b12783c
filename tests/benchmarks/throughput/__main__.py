"""Students an hour: this service beside a Ray Tune study as tutorials have it, and a plain loop.

    python -m tests.benchmarks.throughput --cifar DIR --mnist DIR
    python -m tests.benchmarks.throughput --cifar DIR --mnist DIR --keep FILE    # goes on there
    python -m tests.benchmarks.throughput --quick        # digits, within five minutes

DIR is an image folder, or what torchvision keeps. Eight students a space, the same for all arms,
under one teacher that was trained beforehand; arms take turns, each in processes of its own. The
clock runs from the start of the command to its end: starting Ray, reading the data, the teacher's
answers, training, validation; for the service also latency measured before each training and on the
idle device at the end, the test split, the record and the report, which the others do not have.
Beside the ratio of all of it stands that of training alone: of the service's seconds those are
taken off in which it timed students and scored the test split.

``--keep FILE`` adds each run to a file, a line each, and does not repeat what is there: a long
comparison may be interrupted, or done arm by arm (``--arms``) where machines are quiet for an hour.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from analysis.record import read_record
from analysis.sections.time import hours
from cluster.connect import available_cpus
from study.environment import describe_environment
from tests.benchmarks.seeds import gain
from tests.benchmarks.throughput.bare import ARMS as BARE
from tests.benchmarks.throughput.spaces import PRESET

SERVICE = "service"
# The service with one of its factors taken away.
_CORES = str(available_cpus())
WITHOUT = {
    "service, teacher asked at each step": ("--teacher-outputs", "live"),
    "service, one trial at a time": ("--concurrent", "1", "--cpus-per-trial", _CORES),
    "service, in float32": ("--precision", "float32"),
}
_ROOT = Path(__file__).parents[3]
_SPACES = f"{__package__}.spaces"


@dataclass(frozen=True)
class Measured:
    """What one run of an arm came to: seconds of all of it, accuracy (%) of each student.

    ``time`` is where the service's went, as its report has it.
    """

    seconds: float
    accuracies: Sequence[float]
    time: Mapping[str, Any] | None = None

    @property
    def timing_latency(self) -> float:
        """Seconds of it in which the service timed students and scored the test split.

        Of its workers' timing, each worker's share.
        """
        if self.time is None:
            return 0.0
        stages, workers = self.time["stages"], self.time["workers"]
        held = sum(workers.values())
        shared = workers.get("latency", 0.0) * stages.get("trials", 0.0) / held if held else 0.0
        return float(stages.get("confirming", 0.0) + shared)


@dataclass(frozen=True)
class Case:
    """A space on a data set: arguments of `study.launch` that all arms share."""

    name: str
    launch: tuple[str, ...]

    def run(self, arm: str, studies: Path, teacher: Path) -> Measured:
        """Run an arm; ends the script where it fails."""
        if arm in BARE:
            return self._bare(arm, studies, teacher)
        keep_teacher_alone(studies)
        shutil.rmtree(studies / "timed", ignore_errors=True)
        more = WITHOUT.get(arm, ())
        asked = [*self.launch, *more, "--name", "timed", "--studies", str(studies), "--quiet"]
        seconds = timed([sys.executable, "-m", "study.launch", *asked])
        record = read_record(studies / "timed")
        scores = [t.val_score for t in record.trials if t.status == "complete"]
        if len(scores) < record.plan.plan["trials"] or None in scores:
            sys.exit(f"{arm}: not every student was trained: {' '.join(asked)}")
        spent = hours(record)
        told = None if spent is None else spent.to_json()
        return Measured(seconds, [score for score in scores if score is not None], told)

    def _bare(self, arm: str, studies: Path, teacher: Path) -> Measured:
        out = studies / f"{arm}.json"
        asked = [*self.launch, "--studies", str(studies)]
        module = f"{__package__}.bare"
        seconds = timed([sys.executable, "-m", module, arm, str(out), str(teacher), "--", *asked])
        return Measured(seconds, json.loads(out.read_text())["accuracies"])


class Kept:
    """Runs that are done, by space, arm and number; in a file, if one is named."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._runs: dict[tuple[str, str, int], Measured] = {}
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        for line in lines:
            body = json.loads(line)
            key = body.pop("space"), body.pop("arm"), body.pop("run")
            self._runs[key] = Measured(**body)

    def get(self, space: str, arm: str, run: int) -> Measured | None:
        return self._runs.get((space, arm, run))

    def add(self, space: str, arm: str, run: int, measured: Measured) -> None:
        self._runs[space, arm, run] = measured
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            body = {"space": space, "arm": arm, "run": run, **asdict(measured)}
            with self._path.open("a") as file:
                file.write(json.dumps(body) + "\n")


def timed(command: Sequence[str]) -> float:
    """Seconds that a command took."""
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "PYTHONWARNINGS": "ignore"}
    # For all arms: threads that spin beside busy loaders are several times slower.
    environment["OMP_WAIT_POLICY"] = "PASSIVE"
    begun = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"exit code {done.returncode}: {' '.join(command)}\n{done.stderr[-2000:]}")
    return time.monotonic() - begun


def keep_teacher_alone(studies: Path) -> None:
    """Remove the answers that the teacher gave to an earlier run."""
    for answers in (studies / "teachers").glob("*/outputs-*"):
        shutil.rmtree(answers)


def prepare(case: Case, studies: Path) -> Path:
    """Have the teacher trained, and the data read once; returns the teacher's folder.

    The same teacher serves a comparison that is gone on with.
    """
    shutil.rmtree(studies / "first", ignore_errors=True)
    asked = [*case.launch, "--name", "first", "--studies", str(studies), "--quiet"]
    timed([sys.executable, "-m", "study.launch", *asked, "--trials", "1"])
    record = read_record(studies / "first")
    assert record.teacher is not None
    return studies / "teachers" / record.teacher.key


def cases(args: argparse.Namespace) -> list[Case]:
    """What is to be run."""
    common = ("--preset", PRESET, "--scheduler", "none", "--tracking-uri", "none")
    blocks, dense = f"{_SPACES}:BLOCKS", f"{_SPACES}:DENSE"
    if args.quick:
        small = (*common, "--data", "digits", "--trials", "3", "--max-epochs", "3")
        few = (*small, "--views", "3", "--teacher-epochs", "1", "--fix", "width=16")
        return [
            Case("cifar_blocks", ("--space", blocks, *few)),
            Case("mnist_dense", ("--space", dense, *small, "--fix", "epochs=3")),
        ]
    found = []
    if args.cifar is not None:
        asked = ("--space", blocks, "--data", str(args.cifar), "--train-per-class", "500")
        asked = (*asked, "--trials", "8", "--max-epochs", "5", "--views", "5")
        if args.teacher_epochs is not None:
            asked = (*asked, "--teacher-epochs", str(args.teacher_epochs))
        found.append(Case("cifar_blocks", (*asked, *common)))
    if args.mnist is not None:
        asked = ("--space", dense, "--data", "mnist", "--data-dir", str(args.mnist))
        asked = (*asked, "--trials", "8", "--max-epochs", "3", "--fix", "epochs=3")
        found.append(Case("mnist_dense", (*asked, *common)))
    return found


def summary(runs: Mapping[str, Sequence[Measured]]) -> dict[str, Any]:
    """What `--json` prints of a space."""
    seconds = {arm: [run.seconds for run in of_arm] for arm, of_arm in runs.items()}
    arms: dict[str, Any] = {}
    for arm, of_arm in runs.items():
        pairs = [*zip(of_arm, runs.get(SERVICE, ()), strict=False)]
        ratios = [theirs.seconds / ours.seconds for theirs, ours in pairs]
        alike = [
            (theirs.seconds - theirs.timing_latency) / (ours.seconds - ours.timing_latency)
            for theirs, ours in pairs
        ]
        arms[arm] = {
            "seconds": seconds[arm],
            "timing_latency": [run.timing_latency for run in of_arm],
            "ratio": statistics.median(ratios) if ratios else None,
            "ratio_of_training": statistics.median(alike) if alike else None,
            "accuracies": [list(run.accuracies) for run in of_arm],
            "beside_the_service": beside(of_arm, runs.get(SERVICE, ())),
            "time": of_arm[0].time,
        }
    told = {f"ratio_{arm}": arms[arm]["ratio"] for arm in BARE if arm in arms}
    alike = {
        f"ratio_{arm}_of_training": arms[arm]["ratio_of_training"] for arm in BARE if arm in arms
    }
    return {**told, **alike, "arms": arms}


def beside(runs: Sequence[Measured], service: Sequence[Measured]) -> str | None:
    """How an arm's accuracies differ from the service's, student by student: mean, interval."""
    if not runs or not service:
        return None
    theirs, ours = (
        [statistics.mean(scores) for scores in zip(*(run.accuracies for run in each), strict=True)]
        for each in (runs, service)
    )
    return gain(theirs, ours)


def show(name: str, body: Mapping[str, Any]) -> None:
    """Prints a space's table in Markdown."""
    print(f"\n**{name}**\n")
    print(
        "| arm | seconds, median | of all runs | of these, timing students | students an hour "
        "| over the service | of training alone | accuracy | beside the service's, by student |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for arm, found in body["arms"].items():
        seconds = statistics.median(found["seconds"])
        each = ", ".join(f"{value:.0f}" for value in found["seconds"])
        students = len(found["accuracies"][0])
        timing = statistics.median(found["timing_latency"])
        ratio, alike = (
            "" if found[key] is None else f"{found[key]:.2f}"
            for key in ("ratio", "ratio_of_training")
        )
        means = [statistics.mean(run) for run in found["accuracies"]]
        print(
            f"| {arm} | {seconds:.0f} | {each} | {timing:.0f} | {3600 * students / seconds:.0f} "
            f"| {ratio} | {alike} | {statistics.mean(means):.2f} % "
            f"| {found['beside_the_service'] or ''} |"
        )
    spent = body["arms"].get(SERVICE, {}).get("time")
    if spent:
        print("\nWhere the service's time went in its first run, in seconds:\n")
        for kind in ("stages", "workers"):
            parts = sorted(spent[kind].items(), key=lambda part: -part[1])
            print(f"- {kind}: " + ", ".join(f"{part} {took:.1f}" for part, took in parts))


def compare(
    case: Case, arms: Sequence[str], repeats: int, studies: Path, kept: Kept
) -> dict[str, list[Measured]]:
    """Run the arms in turn, but for what is kept."""
    studies.mkdir(parents=True, exist_ok=True)
    teacher: Path | None = None
    runs: dict[str, list[Measured]] = {arm: [] for arm in arms}
    for repeat in range(repeats):
        # Whoever comes first finds the machine as others left it: take turns in that, too.
        first = repeat % len(arms)
        for arm in (*arms[first:], *arms[:first]):
            measured = kept.get(case.name, arm, repeat)
            if measured is None:
                teacher = teacher or prepare(case, studies)
                print(f"{case.name}, {arm}, run {repeat + 1} …", file=sys.stderr)
                measured = case.run(arm, studies, teacher)
                kept.add(case.name, arm, repeat, measured)
            runs[arm].append(measured)
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cifar", type=Path, help="image folder of CIFAR-10")
    parser.add_argument("--mnist", type=Path, help="folder with MNIST")
    parser.add_argument("--teacher-epochs", type=int, help="of the teacher of cifar_blocks")
    parser.add_argument("--quick", action="store_true", help="digits, three students, one run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=(*BARE, SERVICE, *WITHOUT))
    parser.add_argument("--spaces", nargs="+", choices=("cifar_blocks", "mnist_dense"))
    parser.add_argument("--keep", type=Path, help="file of the runs that are done")
    parser.add_argument("--studies", type=Path, help="where teachers are kept from run to run")
    parser.add_argument("--json", action="store_true", help="one object instead of the tables")
    args = parser.parse_args()
    chosen = [case for case in cases(args) if not args.spaces or case.name in args.spaces]
    if not chosen:
        parser.error("name --cifar DIR, --mnist DIR, or --quick")
    arms = args.arms or (*BARE, SERVICE, *(() if args.quick else WITHOUT))
    # What is gone on with needs the same teachers.
    studies = args.studies or (args.keep and args.keep.with_suffix(".studies"))
    repeats, kept = 1 if args.quick else args.repeats, Kept(args.keep)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (studies or Path(scratch)).absolute()
        results = {
            case.name: summary(compare(case, arms, repeats, folder / case.name, kept))
            for case in chosen
        }
    if args.json:
        print(json.dumps(results))
        return
    about = describe_environment()
    print(f"{about['cpu']}, {about['cores']} cores; torch {about['torch']}, Ray {about['ray']}")
    for name, body in results.items():
        show(name, body)


if __name__ == "__main__":
    main()
