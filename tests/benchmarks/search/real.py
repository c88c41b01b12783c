"""The search on real training: hypervolume against epochs trained, beside TPE without stopping.

    python -m tests.benchmarks.search.real --studies DIR --trainings 12 --seeds 5 -- \\
        --space cifar_blocks --data digits --max-epochs 12

What follows `--` goes to `python -m study.launch` as it stands, for each seed twice: with
`--sampler tpe --scheduler none` and so many trials, and with `--sampler latency-first --scheduler
pause` and `--begun` times as many, most of which are not trained to their end: with 4 its studies
are far from over when the epochs are spent, with 1.5 they about are. The journal of each study
tells in which order epochs ended; both are compared after as many epochs as so many full trainings
take, what was trained beyond is left out. A front is made of students trained to their end, by
validation score; an architecture has one latency, the median over all studies, so that no arm
gains from a lucky timing. Run again, it goes on where it was interrupted.
"""

import argparse
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.front import hypervolume
from analysis.record import StudyResults
from analysis.results import JOURNAL_FILE, ReferencePoint, first_runs
from study.environment import describe_environment
from tests.benchmarks.seeds import gain, run

ARMS: Mapping[str, tuple[str, ...]] = {
    "TPE": ("--sampler", "tpe", "--scheduler", "none"),
    "ours": ("--sampler", "latency-first", "--scheduler", "pause"),
}
BEGUN = 4.0


@dataclass(frozen=True)
class Course:
    """How the front of one study grew: (epochs trained by all trials, hypervolume)."""

    points: tuple[tuple[int, float], ...]
    begun: int

    def after(self, epochs: int) -> float:
        """The hypervolume after so many epochs."""
        return max((value for spent, value in self.points if spent <= epochs), default=0.0)

    def epochs_to(self, value: float) -> int | None:
        """Epochs until the hypervolume is as large; None if it never is."""
        return next((spent for spent, found in self.points if found >= value), None)


def epochs_in_order(folder: Path) -> list[tuple[int, int]]:
    """(trial, epoch) of every epoch in the journal, in the order in which they ended."""
    found = []
    for line in (folder / JOURNAL_FILE).read_text().splitlines():
        entry = json.loads(line)
        for name in entry.get("user_attr", {}):
            if name.startswith("epoch:") and "trial_id" in entry:
                found.append((int(entry["trial_id"]), int(name.removeprefix("epoch:"))))
    return found


def latencies(records: Sequence[StudyResults]) -> dict[str, float]:
    """Of each architecture, the teacher's latency over the median of all measured ratios (ms).

    Whoever was timed against the metronome has its study's one ratio of teacher to metronome as a
    factor: here all studies have the same, so that students of different studies can be compared.
    """
    known = [pace for record in records if (pace := _over_metronome(record)) is not None]
    common = statistics.median(known) if known else None
    ratios = defaultdict(list)
    for record in records:
        own = _over_metronome(record)
        for trial in record.trials:
            if trial.latency is not None:
                ratio = trial.latency.ratio_batch_1.median
                if trial.latency.paced_by == "metronome" and own and common:
                    ratio *= common / own
                ratios[trial.architecture].append(ratio)
    return {name: _corner_ms(records) / statistics.median(of) for name, of in ratios.items()}


def _over_metronome(record: StudyResults) -> float | None:
    return None if record.compared_with is None else record.compared_with.latency.over_metronome


def _corner_ms(records: Sequence[StudyResults]) -> float:
    return statistics.median(r.reference.latency_ms for r in records if r.reference)


def course(record: StudyResults, folder: Path, ms: Mapping[str, float], corner_ms: float) -> Course:
    """Follow the front of one study through its journal."""
    assert record.reference is not None
    corner = ReferencePoint(record.reference.val_score, corner_ms, record.reference.best_score)
    trials = {trial.number: trial for trial in first_runs(record.trials)}
    front: list[tuple[float, float]] = []
    points, begun = [(0, 0.0)], set()
    for spent, (number, epoch) in enumerate(epochs_in_order(folder), start=1):
        trial = trials.get(number)
        begun.add(number)
        if trial is not None and epoch == trial.epochs:
            front.append((trial.curve[epoch - 1].val_score, ms[trial.architecture]))
            points.append((spent, hypervolume(front, corner)))
    return Course(tuple(points), len(begun))


def share_to(theirs: Course, ours: Course, budget: int) -> float:
    """Epochs until ours is where theirs ends, over the budget; 2 if it never is."""
    epochs = ours.epochs_to(theirs.after(budget))
    return (2 * budget if epochs is None else epochs) / budget


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--trainings", type=int, default=12, help="full trainings that are paid for"
    )
    parser.add_argument(
        "--begun",
        type=float,
        default=BEGUN,
        help="trials that ours begins for each full training (default: %(default)g)",
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--studies", type=Path, required=True, help="where the studies lie")
    parser.add_argument("--name", default="real", help="name of the studies (default: real)")
    parser.add_argument("--json", action="store_true", help="one object instead of the table")
    parser.add_argument("launch", nargs="+", help="after --: arguments of study.launch")
    args = parser.parse_args()
    records: dict[str, list[tuple[StudyResults, Path]]] = {arm: [] for arm in ARMS}
    for seed in range(args.seeds):
        for arm, options in ARMS.items():
            print(f"{arm}, seed {seed} …", file=sys.stderr)
            begun = args.begun if arm == "ours" else 1.0
            many = "" if arm == "TPE" or begun == BEGUN else f"{begun:g}"
            name = f"{args.name}-{arm.lower()}{many}-s{seed}"
            asked = [*args.launch, *options, "--trials", str(round(begun * args.trainings))]
            record = run(asked, name, seed, args.studies)
            records[arm].append((record, args.studies / name))
    everyone = [record for of_arm in records.values() for record, _ in of_arm]
    ms, corner_ms = latencies(everyone), _corner_ms(everyone)
    courses = {
        arm: [course(record, folder, ms, corner_ms) for record, folder in of_arm]
        for arm, of_arm in records.items()
    }
    budget = args.trainings * max(trial.epochs for trial in everyone[0].trials)
    areas = {arm: [each.after(budget) for each in of_arm] for arm, of_arm in courses.items()}
    needed = [
        share_to(theirs, ours, budget)
        for ours, theirs in zip(courses["ours"], courses["TPE"], strict=True)
    ]
    if args.json:
        print(json.dumps({"budget": budget, "hypervolume": areas, "epochs_to_tpe": needed}))
        return
    about = describe_environment()
    print(f"{about['cpu']}, {about['cores']} cores; {args.seeds} seeds; {budget} epochs each")
    print(" ".join(args.launch))
    print("\n| | hypervolume, mean | each seed | trials begun |\n|---|---|---|---|")
    for arm, of_arm in courses.items():
        each = ", ".join(f"{area:.4f}" for area in areas[arm])
        begun = statistics.median(of.begun for of in of_arm)
        print(f"| {arm} | {statistics.mean(areas[arm]):.4f} | {each} | {begun:g} |")
    percent = {arm: [100 * area for area in of_arm] for arm, of_arm in areas.items()}
    print(f"\nours over TPE, in hundredths: {gain(percent['ours'], percent['TPE'])}")
    shares = ", ".join(f"{share:.2f}" if share <= 1 else "over 1" for share in needed)
    print(f"share of the epochs until ours has reached TPE's, seed by seed: {shares}")


if __name__ == "__main__":
    main()
