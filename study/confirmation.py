"""The front, confirmed: latency taken again on the idle device, the test split scored once.

Students that could be on the front, timed while other trials ran, are timed again with nothing of
the cluster beside them: whoever times holds all CPUs and GPUs of a node. Before the first of a pace
copies of one are timed one after another, which tells what differences mean nothing. Whoever is
then on the front, and every published row and control, is scored on the test split; of what was
trained more than once, every run is. A study that trains more of the front waits with the test
split until that is done. A student whose file cannot be read costs a warning: it is passed over.
"""

import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from analysis.front import front_members
from analysis.latency import TieTests
from analysis.results import (
    ATTR_TIE_TESTS,
    Confirmation,
    Latency,
    Third,
    TieTest,
    TrialResult,
    trained_alone,
    trial_name,
)
from analysis.runs import half_width
from cluster.connect import Cluster
from cluster.kinds import wrong_device
from cluster.whole_node import whole_node
from study.cluster_tasks import Asked, ClusterTasks
from study.progress import Phase, Progress
from study.record import StudyRecord
from study.retention import CONFIRMED_WITHIN, near_front, replicated
from study.task import task_of
from study.tracking.session import front_of
from study.trial_context import TrialContext, has_student

if TYPE_CHECKING:
    import torch

    from study.distillation.serving import Served

logger = logging.getLogger(__name__)

# Seconds of a confirmed latency, before it goes on, up to the plan's, while it has not settled.
_TIMED_SECONDS = 1.6
# The A/A test: fewest and most copies of a student, the parts of the plan's seconds for each (at
# least, and while it has not settled), the spread up to which the fewest are enough, and the time
# after which no more are made (an int8 network takes some to make): a part of what all trainings
# took, and no more than so many times the plan's seconds.
_COPIES = 5, 10
_COPIES_SHARE, _COPIES_WITHIN = 1 / 20, 3.3
_COPY_SECONDS = 1 / 15, 1 / 3
_SPREAD_ENOUGH = 0.05
_SAY_AFTER_SECONDS = 3.0


def confirm(
    record: StudyRecord,
    context: TrialContext,
    context_reference: Any,
    cluster: Cluster,
    progress: Progress,
    retries: int = 2,
    unreadable: dict[int, str] | None = None,
) -> None:
    """Confirm every trial of the record that is, or may be, on the front or in a published table.

    Args:
        record: Read and written.
        context: What trials share.
        context_reference: The same in Ray's object store.
        cluster: Where the study runs.
        progress: Shows how far it is.
        retries: How often a student is asked about again whose worker was lost.
        unreadable: Students that this driver has found unreadable and told of, by number, with what
            is wrong; those found now are added.
    """
    worker = _worker(context, context_reference, cluster, progress, retries)
    kept = _Kept(record, worker, {} if unreadable is None else unreadable)
    if kept.waiting():
        with progress.phase("confirming the front") as phase:
            done = 0
            while kept.waiting():
                _test_ties(record, kept, phase, done)
                waiting = kept.waiting()
                for place, trial in enumerate(waiting):
                    phase.update(done, done + len(waiting) - place, trial.architecture)
                    known = record.trial(trial.number).idle_latency
                    confirmation = kept.ask(phase, _confirm, trial, known, worker.cpus)
                    if confirmation is not None:
                        record.confirm(trial.number, confirmation)
                        done += 1
            phase.update(done, done)
    for number, problem in kept.found_unreadable.items():
        progress.warn(f"{trial_name(number)} could not be confirmed: {problem}")
    _warn_of_lost(record, progress, kept.unreadable)


def _warn_of_lost(record: StudyRecord, progress: Progress, unreadable: Collection[int]) -> None:
    """Say which students are wanted and not kept, but for those that could not be read."""
    front = {
        trial.number: trial
        for trial in front_of(record)
        if trial.number not in unreadable and not has_student(record.folder, trial.number)
    }
    reported = _reported(record.trials(), record.third)
    for trial in _waiting(record.trials(), record.third):
        # Of others that were trained again, the runs that can be scored are enough.
        if trial.number in reported and trial.number not in {*unreadable, *front}:
            progress.warn(f"{trial.name} could not be confirmed: its student is not kept any more")
    for trial in front.values():
        nor = "" if trial.confirmed else ", nor scored on the test split"
        progress.warn(
            f"{trial.name} is on the front, but its student is not kept any more: it cannot be "
            f"exported{nor}; to have it, train it in a study of its own, its parameters held by "
            "`--fix`"
        )


def time_front(
    record: StudyRecord,
    context: TrialContext,
    context_reference: Any,
    cluster: Cluster,
    progress: Progress,
    retries: int = 2,
    unreadable: dict[int, str] | None = None,
) -> None:
    """Time every student that is, or may be, on the front, on the idle device; score none.

    Args:
        record: Read and written.
        context: What trials share.
        context_reference: The same in Ray's object store.
        cluster: Where the study runs.
        progress: Shows how far it is.
        retries: How often a student is asked about again whose worker was lost.
        unreadable: Students that this driver has found unreadable and told of, by number, with what
            is wrong; those found now are added.
    """
    worker = _worker(context, context_reference, cluster, progress, retries)
    kept = _Kept(record, worker, {} if unreadable is None else unreadable)
    if not kept.untimed():
        return
    with progress.phase("timing the front") as phase:
        done = 0
        _test_ties(record, kept, phase, done)
        while untimed := kept.untimed():
            phase.update(done, done + len(untimed), untimed[0].architecture)
            latency = kept.ask(phase, _time, untimed[0])
            if latency is not None:
                record.timed(untimed[0].architecture, latency)
                done += 1
            # Its latency may have let a student of another pace near the front.
            _test_ties(record, kept, phase, done)
        phase.update(done, done)
    for number, problem in kept.found_unreadable.items():
        progress.warn(f"{trial_name(number)} could not be timed on the idle device: {problem}")


def _worker(
    context: TrialContext, reference: Any, cluster: Cluster, progress: Progress, retries: int
) -> "WholeNodeWorker":
    return WholeNodeWorker(
        reference,
        on_gpu=context.on_gpu,
        kind=cluster.checked_kind,
        selector=cluster.selector,
        retries=retries,
        warn=progress.warn,
    )


def _waiting(trials: Sequence[TrialResult], third: Third | None) -> list[TrialResult]:
    complete = [trial for trial in trials if trial.status == "complete"]
    wanted = _reported(trials, third) | replicated(complete)
    return [trial for trial in complete if trial.number in wanted and not trial.confirmed]


def _reported(trials: Sequence[TrialResult], third: Third | None) -> set[int]:
    """Return the numbers of the front, of who may be on it, of published rows and controls."""
    near = near_front(trials, CONFIRMED_WITHIN, third)
    named = (t for t in trials if t.label or t.source == "control")
    return {trial.number for trial in (*front_members(trials, third), *near, *named)}


class WholeNodeWorker(ClusterTasks):
    """Has a node to itself, one task at a time: nothing of the cluster runs beside it.

    Args:
        context_reference: What trials share, in Ray's object store.
        on_gpu: Whether the node has to have a GPU.
        kind: Of the devices that the study keeps to; empty if any will do.
        selector: Labels of the nodes that the study keeps to.
        retries: How often a task is asked for again whose worker was lost.
        warn: Hears of workers that were lost.
    """

    def __init__(
        self,
        context_reference: Any,
        *,
        on_gpu: bool,
        kind: str = "",
        selector: Mapping[str, str] | None = None,
        retries: int = 2,
        warn: Callable[[str], None] = logger.warning,
    ) -> None:
        """Look for the largest node."""
        import ray

        super().__init__(
            lambda apart: whole_node(ray.nodes(), gpus=on_gpu, selector=selector, apart=apart),
            "confirms the front",
            retries=retries,
            warn=warn,
            say_after=_SAY_AFTER_SECONDS,
            unfit=partial(wrong_device, kind, gpus=on_gpu),
        )
        self._context = context_reference

    def begin(self, task: Any, *arguments: Any) -> Asked:
        """Ask for a task to be run, which is given what trials share first."""
        return super().begin(_alone, task, self._context, *arguments)


def _alone(task: Any, context: TrialContext, *arguments: Any) -> Any:
    from study.distillation.acceleration import prepare_gpu

    # As trials are timed: alone on the GPU, but with convolutions tuned alike.
    prepare_gpu(1.0 if context.on_gpu else 0.0)
    return task(context, *arguments)


class _Kept:
    """The students that wait to be confirmed, asked for one at a time.

    One whose file is damaged, or lost between two looks, is as good as not kept from then on: no
    run of the study can do better with it.

    Args:
        record: Read.
        worker: Loads them.
        unreadable: By number, what is wrong with those that could not be read; added to.

    Attributes:
        found_unreadable: Those that are found here, which nobody has been told of.
    """

    def __init__(
        self, record: StudyRecord, worker: WholeNodeWorker, unreadable: dict[int, str]
    ) -> None:
        self._record, self._worker = record, worker
        self.unreadable = unreadable
        self.found_unreadable: dict[int, str] = {}

    def waiting(self) -> list[TrialResult]:
        """Return the trials that wait, as far as their student is there."""
        record = self._record
        return [
            trial
            for trial in _waiting(record.trials(), record.third)
            if trial.number not in self.unreadable and has_student(record.folder, trial.number)
        ]

    def untimed(self) -> list[TrialResult]:
        """Return a trial of each architecture that is to be timed."""
        waiting = self.waiting()
        found = {trial.architecture: trial for trial in waiting if trial.idle_latency is None}
        return list(found.values())

    def ask(self, phase: Phase, task: Any, trial: TrialResult, *arguments: Any) -> Any:
        """Return what a task finds of a trial's student; None, and what is wrong noted, of none."""
        try:
            return self._worker.run(phase, task, trial.number, *arguments)
        except ValueError as error:
            from study.distillation.checkpoint import CheckpointError

            if not isinstance(error, CheckpointError):
                raise
            self.unreadable[trial.number] = self.found_unreadable[trial.number] = str(error)
            return None


def _test_ties(record: StudyRecord, kept: _Kept, phase: Phase, done: int) -> None:
    """Have the A/A test done with the fastest student, whose noise is largest, once a study.

    Where some are timed by their teacher's pace and some by the metronome's, with the fastest of
    either, once each: the other pace may come with whom the first latencies let near the front, or
    when a study goes on.
    """
    while waiting := kept.waiting():
        known = TieTests.from_json(record.attribute(ATTR_TIE_TESTS)).tests
        paces = {test.paced_by for test in known}
        asked = fastest_by_pace(waiting)
        left = [pace for pace in asked if pace not in paces]
        if not left or None in paces:
            return
        phase.update(done, done + len(waiting), "the same student, timed again and again")
        trained = sum(trial.train_seconds for trial in trained_alone(record.trials()))
        within = _COPIES_SHARE * trained / len(paces | asked.keys())
        pace, trial = left[0], asked[left[0]]
        test = kept.ask(phase, time_copies, trial, trial.architecture, within)
        if test is not None:
            tests = TieTests((*known, replace(test, paced_by=pace)))
            record.set_attribute(ATTR_TIE_TESTS, tests.to_json())
        # It takes several times as long as a student does.
        phase.begin_steps()


def fastest_by_pace(trials: Iterable[TrialResult]) -> dict[str, TrialResult]:
    """Return, of those whose latency was taken by one pace, the fastest, for each pace."""
    found: dict[str, TrialResult] = {}
    for trial in sorted(trials, key=lambda t: math.inf if t.latency_ms is None else t.latency_ms):
        latency = trial.best_latency
        found.setdefault("teacher" if latency is None else latency.paced_by, trial)
    return found


def _confirm(
    context: TrialContext, number: int, latency: Latency | None, cpus: int
) -> Confirmation:
    from study.student import load_student, pin_threads

    student = load_student(context, number)
    pin_threads(cpus)
    tested = task_of(context.space).test(student, context)
    if latency is None:
        latency = time_idle(context, student)
    return Confirmation(tested.score, latency, tested.figures)


def _time(context: TrialContext, number: int) -> Latency:
    from study.student import load_student

    return time_idle(context, load_student(context, number))


def time_idle(context: TrialContext, student: "torch.nn.Module") -> Latency:
    """Time a student beside the teacher, with nothing else at work on the node."""
    from study.student import measure, pin_threads

    # Timed with the threads that a trial has.
    pin_threads(context.threads)
    most = context.timing_seconds
    _, latency = measure(
        context, student, idle=True, seconds=min(_TIMED_SECONDS, most), at_most=most
    )
    return latency


def time_copies(
    context: TrialContext, number: int, architecture: str, within: float = math.inf
) -> TieTest:
    """Time copies of a student one after another, as if they were students of the front.

    Args:
        context: What trials share.
        number: Of the student's trial.
        architecture: Its name.
        within: Seconds after which no more copies are made than there have to be.
    """
    from study.distillation.measurement import compare_small_batch
    from study.student import compared_with, device_of, load_student, pin_threads, served

    def copy() -> "Served":
        return served(context, task_of(context.space).measured(load_student(context, number)))

    pin_threads(context.threads)
    student = copy()
    latencies: list[float] = []
    (fewest, most), spread, begun = _COPIES, math.inf, time.monotonic()
    seconds, at_most = (part * context.timing_seconds for part in _COPY_SECONDS)
    within = min(within, _COPIES_WITHIN * context.timing_seconds)
    at_most = max(seconds, min(at_most, within / fewest))
    while len(latencies) < fewest or (
        spread > _SPREAD_ENOUGH and len(latencies) < most and time.monotonic() - begun < within
    ):
        if student.runtime == "eager":
            # Loaded anew: where a network lies in memory is part of the noise. To export or compile
            # it as often would take minutes.
            student = copy()
        ratio = compare_small_batch(
            student,
            compared_with(context),
            context.data.shape,
            device_of(context),
            seconds=seconds,
            at_most=at_most,
            teacher_over_metronome=context.teacher_over_metronome,
        )
        latencies.append(1.0 / ratio.median)
        if len(latencies) >= fewest:
            ratios, spread = spread_of_equals(latencies)
    return TieTest(architecture, ratios, spread)


def spread_of_equals(latencies: Sequence[float]) -> tuple[tuple[float, ...], float]:
    """Return repeated latencies over their geometric mean, and how far two of their kind differ.

    Of logarithms with standard deviation s, two drawn differ by less than t · s · √2 in 95 of 100
    cases, t being the quantile of Student's distribution. As a share of the smaller of the two.
    """
    from statistics import fmean, stdev

    logs = [math.log(latency) for latency in latencies]
    mean = fmean(logs)
    bound = half_width(stdev(logs) * math.sqrt(2), len(logs) - 1)
    return tuple(math.exp(log - mean) for log in logs), math.expm1(bound)
