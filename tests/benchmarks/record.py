"""Speed of the record: `status` on a large study, and a driver's own cost of one more trial.

    python -m tests.benchmarks.record
    python -m tests.benchmarks.record --trials 100 --large 1000 --repeats 3    # a quick look

The records are real: the study to be looked at is written by the driver's own code, an epoch a
line; the large one by Optuna, a trial a line, with the attributes the driver would have written.
Both without waiting for the disk, which what is timed does. Peers are timed on the same record.
"""

import argparse
import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from search_spaces.cifar_blocks import SPACE
from study import proposal, searcher
from study.environment import describe_environment
from study.plan import StudyPlan
from study.progress import Progress
from study.proposal import distributions
from study.record import StudyRecord
from study.recorder import Limits, Recorder
from study.searcher import TrialQueue
from study.tracking.tracker import Tracker
from tests.benchmarks.made_up import (
    Course,
    configurations,
    make_plan,
    without_waiting_for_the_disk,
    write_as_a_driver,
    write_at_once,
)

REPOSITORY = Path(__file__).parents[2]


@dataclass
class Times:
    """Seconds taken, by what was done, and the targets that are set."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    targets: dict[str, float] = field(default_factory=dict)

    def take(self, what: str, work: Callable[[], Any], target: float | None = None) -> Any:
        """Do ``work`` once, and note how long it took."""
        begun = time.perf_counter()
        result = work()
        self.seconds.setdefault(what, []).append(time.perf_counter() - begun)
        if target is not None:
            self.targets[what] = target
        return result

    def sum(self, name: str, parts: Sequence[str], target: float | None = None) -> None:
        """Note the sums of what was done once each a trial."""
        together = zip(*(self.seconds[part] for part in parts), strict=True)
        self.seconds[name] = [sum(times) for times in together]
        if target is not None:
            self.targets[name] = target

    def show(self, title: str, unit: str) -> None:
        """Print a table of medians and ranges."""
        scale = {"s": 1.0, "ms": 1e3}[unit]
        print(
            f"\n{title}\n{'':<58}{'median':>10}{'least':>10}{'most':>10}{'target':>10}   ({unit})"
        )
        for what, seconds in self.seconds.items():
            times = (statistics.median(seconds), min(seconds), max(seconds))
            shown = "".join(f"{scale * value:>10.2f}" for value in times)
            target = self.targets.get(what)
            print(f"{what:<58}{shown}{'' if target is None else f'{scale * target:>10.2f}'}")


def time_status(folder: Path, repeats: int) -> Times:
    """Time commands that read a whole record, each in a process of its own."""
    status = [sys.executable, "-m", "study", "status", folder.name, "--studies", str(folder.parent)]
    load = (
        "import sys, optuna\n"
        "from optuna.storages import JournalStorage\n"
        "from optuna.storages.journal import JournalFileBackend\n"
        "storage = JournalStorage(JournalFileBackend(sys.argv[1]))\n"
        "study = optuna.load_study(study_name=sys.argv[2], storage=storage)\n"
        "print(len(study.get_trials(deepcopy=False)), len(study.best_trials))\n"
    )
    peer = [sys.executable, "-c", load, str(folder / "journal.log"), folder.name]
    times = Times()

    def run(command: Sequence[str]) -> None:
        subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)

    run(status)  # compiles, and fills the disk cache
    for _ in range(repeats):
        times.take("study status", lambda: run(status), target=2.0)
        times.take("study status --json", lambda: run([*status, "--json"]), target=2.0)
        times.take("Optuna: load the journal, find the best trials", lambda: run(peer))
    return times


def time_trials(record: StudyRecord, plan: StudyPlan, first: int, repeats: int) -> Times:
    """Time all that a driver does for one more trial, its sampler and its training left out."""
    fresh = configurations()
    for _ in range(first):
        next(fresh)
    # What the sampler would propose: nothing that has been tried.
    searcher.propose = lambda *args, **options: next(fresh)
    queue = TrialQueue(record, SPACE, plan, (), lambda: False)
    recorder = Recorder(record, Tracker(), Progress(io.StringIO(), quiet=True), {}, queue, Limits())
    by_hand, whole = Times(), Times()
    for number in range(first, first + repeats):
        task = by_hand.take("next_task, with add_trial", queue.next_task)
        assert task is not None
        course = Course.draw(SPACE.describe(task.params), number, plan.max_epochs)
        n, last = task.number, course.epochs[-1]
        by_hand.take("measured", lambda n=n, c=course: record.measured(n, c.model, c.latency))
        by_hand.take("epoch", lambda n=n, e=last: record.epoch(n, e))
        by_hand.take("finish", lambda n=n, c=course: record.finish(n, c.outcome))
    by_hand.sum(
        "one trial: next_task, epoch, finish",
        ["next_task, with add_trial", "epoch", "finish"],
        0.05,
    )
    for number in range(first + repeats, first + 2 * repeats):
        task = queue.next_task()
        assert task is not None
        course = Course.draw(SPACE.describe(task.params), number, plan.max_epochs)
        trial = SimpleNamespace(config={"number": task.number})
        model, latency = course.model.to_json(), course.latency.to_json()
        curve = [epoch.to_json() for epoch in course.epochs]
        whole.take("  its start", lambda t=trial: recorder.on_trial_start(0, [], t))
        whole.take(
            "  its size and latency",
            lambda t=trial, m=model, lat=latency: recorder.on_trial_result(
                0, [], t, {"model": m, "latency": lat}
            ),
        )
        whole.take(
            "  an epoch",
            lambda t=trial, c=curve: recorder.on_trial_result(0, [], t, {"curve": c[-1:]}),
        )
        whole.take("  its end", lambda t=trial: recorder.on_trial_complete(0, [], t))
        if recorder.fatal is not None:
            raise recorder.fatal
    by_hand.seconds.update({f"recorder:{what[1:]}": s for what, s in whole.seconds.items()})
    return by_hand


def time_optuna(record: StudyRecord, first: int, repeats: int) -> Times:
    """Time Optuna by itself on the same record: a random trial asked for, reported on and told."""
    times = Times()
    study = record.study
    for params, _ in zip(configurations(), range(repeats), strict=False):
        space = distributions(SPACE, params)
        trial = times.take("Optuna: ask, at random", lambda s=space: study.ask(s))
        body = Course.draw(SPACE.describe(params), first, 1).epochs[0].to_json()
        times.take("Optuna: one attribute", lambda t=trial, b=body: t.set_user_attr("epoch", b))
        times.take("Optuna: tell", lambda t=trial: study.tell(t, [50.0, 5.0]))
    parts = list(times.seconds)
    times.sum("Optuna: one trial", parts)
    return times


def time_samplers(record: StudyRecord, first: int, repeats: int) -> Times:
    """Time a proposal of TPE as the driver asks for it, and as Optuna does."""
    import optuna

    times = Times()
    for number in range(first, first + repeats):
        options = {"sampler": "tpe", "seed": 0, "number": number, "tried": ()}
        times.take("propose", lambda o=options: proposal.propose(record.study, SPACE, **o))
    study = optuna.load_study(
        study_name=record.study.study_name,
        storage=record.study._storage,
        sampler=proposal.make_sampler("tpe", 0),
    )
    for params, _ in zip(configurations(), range(repeats), strict=False):
        space = distributions(SPACE, params)
        times.take("Optuna: ask", lambda s=space: study.ask(s))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1_000, help="of the study looked at")
    parser.add_argument("--large", type=int, default=10_000, help="trials of the large record")
    parser.add_argument("--epochs", type=int, default=30, help="of each trial")
    parser.add_argument("--repeats", type=int, default=9, help="of each measurement")
    args = parser.parse_args()
    about = describe_environment()
    versions = ", ".join(f"{name} {about[name]}" for name in ("python", "optuna", "ray"))
    print(f"{about['cpu']}, {about['cores']} cores; {versions}; medians of {args.repeats}")
    with tempfile.TemporaryDirectory(prefix="study-benchmark-") as scratch:
        folder = Path(scratch) / "looked-at"
        with without_waiting_for_the_disk():
            write_as_a_driver(folder, args.trials, args.epochs)
        size = (folder / "journal.log").stat().st_size / 1e6
        title = f"A study of {args.trials:,} trials of {args.epochs} epochs, {size:.0f} MB"
        time_status(folder, args.repeats).show(title, "s")
        folder = Path(scratch) / "large"
        with without_waiting_for_the_disk():
            planned = args.large + 10 * args.repeats
            record = write_at_once(folder, args.large, args.epochs, planned)
        plan = make_plan("large", planned, args.epochs)
        title = f"One more trial in a record of {args.large:,}, the sampler left out"
        ours = time_trials(record, plan, args.large, 3 * args.repeats)
        ours.seconds.update(time_optuna(record, args.large, 3 * args.repeats).seconds)
        ours.show(title, "ms")
        title = f"A proposal of TPE in a record of {args.large:,}"
        time_samplers(record, args.large, args.repeats).show(title, "ms")


if __name__ == "__main__":
    main()
