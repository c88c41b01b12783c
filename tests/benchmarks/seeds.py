"""The same study under several seeds: each row's mean and deviation, and gains with an interval.

    python -m tests.benchmarks.seeds --seeds 5 --studies studies/seeds -- \\
        --space mnist_subclass --preset paper --trials 3 --fix subclasses=5 --scheduler none

What follows `--` goes to `python -m study.launch` as it stands, once a seed: seed k of the study
NAME-sk. A seed shapes the teacher (unless `--teacher` gives one), the students' initial weights,
the order, crops and flips of images, dropout and the sampler. The splits are the same under every
seed, so what other images held out would change is in no deviation and no interval. Rows with a
label (a preset's, the default's, the control's) are compared; what a sampler drew differs from seed
to seed and is left out. Gains are paired by seed, over the row that `--against` names, or else the
control: the mean and its 95 % interval by Student's t. Run again, it goes on where it was
interrupted.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import t as students_t

from analysis.record import StudyResults, read_record
from study.environment import describe_environment

# The largest share of differences of this mean that lies outside their interval.
OUTSIDE = 0.05


@dataclass(frozen=True)
class Row:
    """Scores of one row of the table, a seed each, by what they are of."""

    label: str
    published: float | None
    scores: Mapping[str, tuple[float, ...]]


def run(arguments: Sequence[str], name: str, seed: int, studies: Path) -> StudyResults:
    """Runs one study to its end and reads its record; ends the script where the study fails."""
    command = [sys.executable, "-m", "study.launch", *arguments, "--name", name]
    command += ["--seed", str(seed), "--studies", str(studies), "--quiet"]
    code = subprocess.run(command, check=False).returncode
    if code:
        sys.exit(f"{name} ended with exit code {code}: {' '.join(command)}")
    return read_record(studies / name)


def rows_of(records: Sequence[StudyResults]) -> list[Row]:
    """Collects what every record has: the teacher, and the rows with a label, in their order."""
    table = records[0].plan.space.published
    published = {row.label: row.values.get("score") for row in table.rows} if table else {}
    rows = []
    teachers = [record.teacher for record in records]
    scored = [each for each in teachers if each and each.test_score is not None]
    if len(scored) == len(records):
        kinds = {
            "validation": tuple(each.val_score for each in scored),
            "test": tuple(each.test_score for each in scored if each.test_score is not None),
        }
        rows.append(Row(f"teacher, {scored[0].name}", None, kinds))
    for label in [trial.label for trial in records[0].trials if trial.label]:
        of_label = [t for record in records for t in record.trials if t.label == label]
        if any(t.confirmed is None or t.val_score is None for t in of_label):
            print(f"{label}: not every seed finished it", file=sys.stderr)
            continue
        confirmed = [t.confirmed for t in of_label if t.confirmed]
        scores = {
            "validation": tuple(t.val_score for t in of_label if t.val_score is not None),
            "test": tuple(each.test_score for each in confirmed),
        }
        for figure in confirmed[0].figures or ():
            values = [
                f.value
                for each in confirmed
                for f in each.figures or ()
                if f.label == figure.label and f.value is not None
            ]
            if len(values) == len(records):
                scores[figure.label] = tuple(values)
        rows.append(Row(label, published.get(label), scores))
    return rows


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over the seeds."""
    if len(values) < 2:
        return f"{values[0]:.2f}"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def gain(values: Sequence[float], others: Sequence[float]) -> str:
    """Mean of the differences seed by seed, with its interval by Student's t."""
    differences = [value - other for value, other in zip(values, others, strict=True)]
    mean = statistics.mean(differences)
    if len(differences) < 2:
        return f"{mean:+.2f}"
    reach = students_t.ppf(1 - OUTSIDE / 2, len(differences) - 1)
    reach *= statistics.stdev(differences) / len(differences) ** 0.5
    return f"{mean:+.2f} [{mean - reach:+.2f}, {mean + reach:+.2f}]"


def show(rows: Sequence[Row], against: str | None, unit: str) -> None:
    """Prints the table in Markdown."""
    kinds = list(dict.fromkeys(kind for row in rows for kind in row.scores))
    base = next((row for row in rows if row.label == against), None)
    heads = ["", f"published, {unit}", *kinds]
    heads += [f"gain in test over {base.label}"] if base else []
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for row in rows:
        cells = [row.label, "" if row.published is None else f"{row.published:g}"]
        cells += [spread(row.scores[kind]) if kind in row.scores else "" for kind in kinds]
        if base:
            other = row is not base and not row.label.startswith("teacher, ")
            cells.append(gain(row.scores["test"], base.scores["test"]) if other else "")
        print("| " + " | ".join(cells) + " |")


def control_of(record: StudyResults) -> str | None:
    """The label of the first control, the student that is not distilled."""
    return next((t.label for t in record.trials if t.source == "control" and t.label), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0 (default: 5)")
    parser.add_argument("--studies", type=Path, required=True, help="where the studies lie")
    parser.add_argument("--name", default="seeds", help="name of the studies (default: seeds)")
    parser.add_argument("--against", help="row that gains are over (default: the control)")
    parser.add_argument("launch", nargs="+", help="after --: arguments of study.launch")
    args = parser.parse_args()
    records = []
    for seed in range(args.seeds):
        print(f"seed {seed} …", file=sys.stderr)
        records.append(run(args.launch, f"{args.name}-s{seed}", seed, args.studies))
    about = describe_environment()
    versions = ", ".join(f"{name} {about[name]}" for name in ("python", "torch"))
    print(f"{about['cpu']}, {about['cores']} cores; {versions}; {args.seeds} seeds")
    print(" ".join(args.launch))
    show(rows_of(records), args.against or control_of(records[0]), records[0].plan.space.score.unit)


if __name__ == "__main__":
    main()
