"""What the service itself costs: trials that train nothing, through the real runner.

    python -m tests.benchmarks.scale                         # 1,000 trials, some minutes
    python -m tests.benchmarks.scale --trials 10000 --limit 3600
    python -m tests.benchmarks.scale --trials 100 --seconds 1 --concurrent 16

Everything is the study's own, from the search and the record on disk to Ray's actors and messages;
only what a worker does with a trial is left out: it reports made-up size, latency and epochs at
once, or after sleeping for ``--seconds``. A worker that sleeps needs no CPU, so more of them than
there are may be asked for. Nothing is extrapolated: a run that reaches ``--limit`` says how far it
came. The driver's memory is what the system says of its process after each tenth of the trials.
"""

import argparse
import io
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cluster.connect import available_cpus, connect, disconnect, set_ray_defaults

set_ray_defaults(None)

from ray.tune import Trainable  # noqa: E402

from analysis.record import read_record  # noqa: E402
from analysis.results import Session  # noqa: E402
from analysis.sections.time import hours  # noqa: E402
from cluster.resources import TrialResources  # noqa: E402
from search_spaces.cifar_blocks import SPACE  # noqa: E402
from study import execution  # noqa: E402
from study.constraints import Constraints  # noqa: E402
from study.distillation.phases import PhaseClock  # noqa: E402
from study.environment import describe_environment  # noqa: E402
from study.progress import Progress  # noqa: E402
from study.record import StudyRecord  # noqa: E402
from study.recorder import Limits, Recorder  # noqa: E402
from study.searcher import TrialQueue  # noqa: E402
from study.tracking.tracker import Tracker  # noqa: E402
from study.trial import unnested  # noqa: E402
from study.trial_attributes import now  # noqa: E402
from study.trial_context import TrialTask  # noqa: E402
from tests.benchmarks.made_up import Course, begin, make_plan  # noqa: E402


class Simulated(Trainable):
    """A worker that says at once what a trial came to, in as many reports as a real one."""

    def setup(self, config: dict[str, Any], context: dict[str, Any] | None = None) -> None:
        assert context is not None
        self._epochs, self._seconds = int(context["epochs"]), float(context["seconds"])
        (Path(context["workers"]) / str(os.getpid())).touch()
        self._clock: PhaseClock | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        if self._clock is not None:
            # What has passed since the last report is the time between two trials.
            self._clock.enter("build")
            spent = self._clock.take()
            self._handover = spent["waiting"]
        else:
            self._clock, self._handover = PhaseClock("build"), 0.0
        task = TrialTask.from_config(new_config)
        self._number, self._done, self._begun = task.number, 0, False
        architecture = SPACE.describe(task.params)
        self._course = Course.draw(architecture, self._number, self._epochs)
        return True

    def step(self) -> dict[str, Any]:
        assert self._clock is not None
        body: dict[str, Any] = {"number": self._number, "latency_ms": 1.0}
        self._clock.enter("steps")
        if not self._begun:
            self._begun = True
            body |= {"model": self._course.model.to_json(), "curve": []}
            body["latency"] = self._course.latency.to_json()
        else:
            time.sleep(self._seconds / self._epochs)
            epoch = self._course.epochs[self._done]
            self._done += 1
            body["curve"] = [epoch.to_json()]
        self._clock.enter("waiting")
        spent = self._clock.take()
        handover, self._handover = self._handover, 0.0
        last = self._course.epochs[max(0, self._done - 1)]
        return unnested(
            {
                **body,
                "epoch": self._done,
                "val_score": last.val_score,
                "done": self._done == self._epochs,
                "spent": {**spent, "handover": handover},
            }
        )

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing is kept."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing was kept."""


class Gauge:
    """The driver's memory as trials end."""

    def __init__(self, every: int) -> None:
        import psutil

        self._process = psutil.Process()
        self._every = every
        self.megabytes: dict[int, float] = {0: self._rss()}

    def look(self, ended: int) -> None:
        if ended and ended % self._every == 0:
            self.megabytes.setdefault(ended, self._rss())

    def _rss(self) -> float:
        return round(self._process.memory_info().rss / 2**20, 1)


def simulate(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Run a study of simulated trials in `folder`, and say what it took."""
    import ray

    plan = make_plan(folder.name, args.trials, args.epochs)
    plan = replace(plan, sampler=args.sampler, scheduler="none")
    record = begin(folder, plan)
    concurrent = args.concurrent or available_cpus()
    gauge = Gauge(max(1, args.trials // 10))
    begun, cpu = time.monotonic(), time.process_time()
    deadline = begun + args.limit

    def spent() -> bool:
        return time.monotonic() > deadline

    queue = TrialQueue(record, SPACE, plan, (), spent)
    recorder = _watched(record, queue, gauge)
    workers = folder.with_name("workers")
    workers.mkdir()
    shared = {"epochs": args.epochs, "seconds": args.seconds, "workers": str(workers)}
    context = ray.put(shared)
    execution.StudentTrainable = Simulated  # type: ignore[misc, assignment]
    # Of a CPU each where they fit; simulated trials sleep, and may share one.
    share = min(1.0, available_cpus() / concurrent)
    resources = TrialResources(share, 0.0, concurrent)  # type: ignore[arg-type]
    execution.run_trials(context, queue, None, recorder, resources, own=True, stop_all=spent)
    recorder.close("the benchmark's time was spent")
    if recorder.fatal is not None:
        raise recorder.fatal
    wall, driver = time.monotonic() - begun, time.process_time() - cpu
    stages = {"trials": wall}
    record.add_session(Session(now(), wall, "complete", stages, concurrent, driver))
    started = len(list(workers.iterdir()))
    return {"workers_started": started, **_figures(folder, wall, driver, gauge, concurrent)}


def _watched(record: StudyRecord, queue: TrialQueue, gauge: Gauge) -> Recorder:
    recorder = Recorder(
        record,
        Tracker(),
        Progress(io.StringIO(), quiet=True),
        {},
        queue,
        Limits(constraints=Constraints()),
    )
    ended: Counter[str] = Counter()
    original: Callable[..., None] = recorder.on_trial_complete

    def complete(*positional: Any, **named: Any) -> None:
        original(*positional, **named)
        ended["trials"] += 1
        gauge.look(ended["trials"])

    recorder.on_trial_complete = complete  # type: ignore[method-assign]
    return recorder


def _figures(
    folder: Path, wall: float, driver: float, gauge: Gauge, concurrent: int
) -> dict[str, Any]:
    results = read_record(folder)
    whole = [trial for trial in results.trials if trial.status == "complete"]
    time_of = hours(results)
    assert time_of is not None
    worked = time_of.workers["steps"]
    held = sum(time_of.workers.values())
    return {
        "trials": len(whole),
        "concurrent": concurrent,
        "seconds": round(wall, 1),
        "trials_per_second": round(len(whole) / wall, 2),
        "driver_seconds_per_trial": round(driver / max(1, len(whole)), 4),
        "between_trials_ms": round(1e3 * time_of.workers["handover"] / max(1, len(whole)), 1),
        "idle_share": round(1 - worked / held, 3) if held else None,
        "driver_mb": gauge.megabytes,
        "journal_mb": round((folder / "journal.log").stat().st_size / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=1, help="reports of an epoch a trial")
    parser.add_argument("--seconds", type=float, default=0.0, help="that a trial sleeps")
    parser.add_argument("--concurrent", type=int, help="trials at once; the CPUs by default")
    parser.add_argument("--sampler", default="random", choices=("random", "tpe"))
    parser.add_argument("--limit", type=float, default=1200.0, help="seconds after which to stop")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    connect(None, env={}, gpus=False)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            found = simulate(Path(scratch) / "scale", args)
    finally:
        disconnect()
    if args.json:
        print(json.dumps(found))
        return
    about = describe_environment()
    print(f"{about['cpu']}, {about['cores']} cores; Ray {about['ray']}, Optuna {about['optuna']}\n")
    for name, value in found.items():
        print(f"{name.replace('_', ' '):<26}{value}")


if __name__ == "__main__":
    main()
