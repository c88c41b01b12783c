"""The front, confirmed: latency taken again on the idle device, the test split scored once.

While trials run, latency is the teacher's idle one over a paired ratio; here students that could be
on the front are timed again with nothing beside them. Whoever is then on the front, and every
published row and control, is scored on the test split; of what was trained more than once, every
run is. A study that trains more of the front waits with the test split until that is done.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from analysis.front import front_members
from analysis.results import Confirmation, Latency, Third, TrialResult, first_runs
from cluster.connect import Cluster
from cluster.kinds import largest_node
from study.preparation import get
from study.progress import Progress
from study.record import StudyRecord
from study.retention import CONFIRMED_WITHIN, near_front, replicated
from study.task import task_of
from study.trial_context import STUDENT_FILE, TrialContext, trial_folder

if TYPE_CHECKING:
    import torch


def confirm(
    record: StudyRecord,
    context: TrialContext,
    context_reference: Any,
    cluster: Cluster,
    progress: Progress,
) -> None:
    """Confirm every trial of the record that is, or may be, on the front or in a published table.

    Args:
        record: Read and written.
        context: What trials share.
        context_reference: The same in Ray's object store.
        cluster: Where to measure.
        progress: Shows how far it is.
    """
    worker = _Worker(context_reference, context, cluster)
    if _with_student(record, _waiting(record.trials(), record.third)):
        with progress.phase("confirming the front") as phase:
            done = 0
            while waiting := _with_student(record, _waiting(record.trials(), record.third)):
                for place, trial in enumerate(waiting):
                    phase.update(done, done + len(waiting) - place, trial.architecture)
                    record.confirm(trial.number, worker.confirm(record.trial(trial.number)))
                    done += 1
            phase.update(done, done)
    reported = _reported(record.trials(), record.third)
    for trial in _waiting(record.trials(), record.third):
        # Of others that were trained again, the runs that can be scored are enough.
        if trial.number not in reported:
            continue
        progress.warn(f"{trial.name} could not be confirmed: its student is not kept any more")


def time_front(
    record: StudyRecord,
    context: TrialContext,
    context_reference: Any,
    cluster: Cluster,
    progress: Progress,
) -> None:
    """Time every student that is, or may be, on the front, on the idle device; score none.

    Args:
        record: Read and written.
        context: What trials share.
        context_reference: The same in Ray's object store.
        cluster: Where to measure.
        progress: Shows how far it is.
    """
    worker = _Worker(context_reference, context, cluster)
    if not _untimed(record):
        return
    with progress.phase("timing the front") as phase:
        done = 0
        while untimed := _untimed(record):
            phase.update(done, done + len(untimed), untimed[0].architecture)
            record.timed(untimed[0].architecture, worker.time(untimed[0]))
            done += 1
        phase.update(done, done)


def _untimed(record: StudyRecord) -> list[TrialResult]:
    """Return a trial of each architecture that is to be timed, with its student."""
    waiting = _with_student(record, _waiting(record.trials(), record.third))
    found = {trial.architecture: trial for trial in waiting if trial.idle_latency is None}
    return list(found.values())


def _waiting(trials: Sequence[TrialResult], third: Third | None) -> list[TrialResult]:
    complete = [trial for trial in trials if trial.status == "complete"]
    wanted = _reported(trials, third) | replicated(complete)
    return [trial for trial in complete if trial.number in wanted and not trial.confirmed]


def _reported(trials: Sequence[TrialResult], third: Third | None) -> set[int]:
    """Return the numbers of the front, of who may be on it, of published rows and controls."""
    near = near_front(first_runs(trials), CONFIRMED_WITHIN, third)
    named = (t for t in trials if t.label or t.source == "control")
    return {trial.number for trial in (*front_members(trials, third), *near, *named)}


def _with_student(record: StudyRecord, trials: Sequence[TrialResult]) -> list[TrialResult]:
    """Those whose student lies in the study's folder."""
    return [t for t in trials if (trial_folder(record.folder, t.number) / STUDENT_FILE).is_file()]


class _Worker:
    """Confirms trials on a worker that has a node to itself; each architecture is timed once."""

    def __init__(self, context_reference: Any, context: TrialContext, cluster: Cluster) -> None:
        import ray

        cpus = largest_node(cluster)
        held = {
            "num_cpus": cpus,
            "num_gpus": 1 if context.on_gpu else 0,
            "label_selector": dict(cluster.selector),
        }
        self._task = ray.remote(_confirm).options(**held)
        self._timing = ray.remote(_time).options(**held)
        self._context = context_reference
        self._cpus = cpus

    def confirm(self, trial: TrialResult) -> Confirmation:
        arguments = (trial.number, trial.idle_latency, self._cpus)
        result: Confirmation = get(self._task.remote(self._context, *arguments))
        return result

    def time(self, trial: TrialResult) -> Latency:
        result: Latency = get(self._timing.remote(self._context, trial.number))
        return result


def _confirm(
    context: TrialContext, number: int, latency: Latency | None, cpus: int
) -> Confirmation:
    from study.student import load_student, pin_threads

    student = load_student(context, number)
    pin_threads(cpus)
    tested = task_of(context.space).test(student, context)
    if latency is None:
        latency = _timed(context, student)
    return Confirmation(tested.score, latency, tested.figures)


def _time(context: TrialContext, number: int) -> Latency:
    from study.student import load_student

    return _timed(context, load_student(context, number))


def _timed(context: TrialContext, student: "torch.nn.Module") -> Latency:
    from study.student import measure, pin_threads

    # Timed with the threads that a trial has.
    pin_threads(context.threads)
    _, latency = measure(context, student, idle=True, seconds=3.0)
    return latency
