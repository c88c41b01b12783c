"""From a plan to a finished record: one driver at a time, on its own or a shared cluster."""

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from analysis import results
from cluster.connect import Cluster, available_cpus, connect, disconnect
from cluster.forking import ForkServer
from cluster.kinds import find_nodes, keep_to_one_kind
from cluster.limits import free_memory
from cluster.resources import TrialResources, plan_resources
from cluster.shared_folder import check_shared
from search_spaces.catalogue import FILE_MODULE_PREFIX
from study.commands import command
from study.core_split import measure_split
from study.database import RECORD_ID, claim, record_id, unusable
from study.ending import Ending, StopRequest
from study.environment import worker_environment
from study.inputs import StudyInputs, check_same_plan, make_folder, plan_document, store_plan
from study.lock import PATIENCE_SECONDS, Holder, study_lock
from study.method_check import check_methods
from study.mirror import bring_study, mirror_of, send_study, withdraw_plan
from study.object_store import StoreError
from study.plan import TO_BE_MEASURED, StudyPlan
from study.progress import Progress
from study.record import RecordError, StudyRecord, read_plan_file
from study.warm_start import keep
from study.watch import watching

# A worker that has loaded torch and trains nothing.
_LOADED_BYTES = 400 * 2**20


def run_study(
    inputs: StudyInputs,
    progress: Progress,
    stop: StopRequest,
    fork_server: ForkServer | None = None,
) -> Ending:
    """Run a study, or continue it; what stands in its way once it has begun is in its ending.

    Raises:
        ClusterError: if the cluster cannot be reached, is too small, or has a node that does not
            share the studies folder.
        DifferentPlanError: if the name belongs to a study with another plan.
        PlanError: if a method of the space cannot work with the networks.
        LockedError: if another driver is at work on it.
        RecordError: if the record cannot be opened.
    """
    plan = inputs.plan
    begun = time.monotonic()
    document = plan_document(inputs)
    check_same_plan(inputs.folder, document)
    with progress.phase("starting Ray" if plan.address is None else "joining the cluster"):
        cluster = connect(
            plan.address,
            env=worker_environment(plan.threads),
            gpus=plan.gpus_per_trial > 0,
            load_ahead=_workers_ahead(plan),
            fork_server=fork_server,
        )
    stop.install()
    # Only now, while workers load torch on the other CPUs: with it comes all of Ray Tune.
    from study.session import Session

    try:
        cluster = _of_one_kind(cluster, inputs, progress)
        resources = _resources(plan, cluster)
        _ship_files()
        check_methods(inputs, progress)
        if plan.cpus_per_trial == TO_BE_MEASURED:
            cpus = measure_split(plan, inputs.space, inputs.data, cluster, progress)
            plan = replace(plan, cpus_per_trial=cpus)
            inputs = replace(inputs, plan=plan)
            document, resources = plan_document(inputs), _resources(plan, cluster)
        make_folder(inputs.folder)
        lock = study_lock(
            inputs.folder, lambda holder: progress.say(_waits_for(holder)), plan.storage
        )
        with lock, watching(inputs.folder, lock) as lock_lost:
            if lock.taken_over is not None:
                progress.say(f"the driver of an earlier run is gone ({lock.taken_over}); going on")
            if mirror_of(inputs.studies) is None:
                check_shared(inputs.folder, cluster)
            # Another machine may have been here since it was looked at.
            with _with_store(inputs.folder, "bringing what the object store has", progress):
                bring_study(inputs.studies, plan.name, "students")
            check_same_plan(inputs.folder, document)
            keep(inputs.folder, inputs.earlier)
            stored = read_plan_file(inputs.folder)
            mark = record_id(stored)
            kept = {results.DEVICE_KIND: cluster.kind, RECORD_ID: mark}
            store_plan(inputs.folder, {**document, **kept})
            record = _open_record(inputs, mark, begun=stored is not None)
            send_study(inputs.folder)
            stop.lock_lost = lock_lost
            session = Session(inputs, record, cluster, resources, progress, stop, begun)
            try:
                return session.run()
            finally:
                _send(inputs.folder, stop, progress)
    finally:
        disconnect()


def _open_record(inputs: StudyInputs, mark: str, *, begun: bool) -> StudyRecord:
    """Open the record; one in a database belongs to this folder from now on.

    Args:
        inputs: The plan, stored already: with the mark in it a killed driver finds its record.
        mark: What ties the folder to its record.
        begun: Whether there was a plan before.

    Raises:
        RecordError: if it cannot be opened, or another folder's driver was quicker.
    """
    plan = inputs.plan
    record = StudyRecord(inputs.folder, plan.name, plan.storage, plan.third)
    if plan.storage is None:
        return record
    try:
        problem = claim(plan.storage, plan.name, mark)
    except Exception as error:  # every driver of a database raises its own kind
        raise RecordError(unusable(plan.storage, error)) from error
    if problem is not None:
        if not begun:
            withdraw_plan(inputs.folder)
        raise RecordError(problem)
    return record


def _of_one_kind(cluster: Cluster, inputs: StudyInputs, progress: Progress) -> Cluster:
    """Keep to the kind of device that the study has run on, or choose one.

    Raises:
        ClusterError: if there is none of it.
    """
    gpus = inputs.plan.gpus_per_trial > 0
    kept = (read_plan_file(inputs.folder) or {}).get(results.DEVICE_KIND)
    nodes = find_nodes(cluster, gpus=gpus)
    chosen = keep_to_one_kind(cluster, nodes, inputs.plan.device_kind, kept, gpus=gpus)
    if chosen.left_alone:
        progress.say(
            f"trials run on {chosen.kind} alone, for latencies of two kinds do not compare; left "
            f"alone: {chosen.left_alone} (--device-kind chooses)"
        )
    return chosen


def _resources(plan: StudyPlan, cluster: Cluster) -> TrialResources:
    return plan_resources(
        cluster.used,
        cpus_per_trial=plan.threads,
        gpus_per_trial=plan.gpus_per_trial,
        concurrent=plan.concurrent,
        selector=cluster.selector,
    )


def _workers_ahead(plan: StudyPlan) -> int:
    """How many workers are to load torch as Ray starts: those of the trials, and the teacher's.

    0 where memory does not carry them.
    """
    cpus = available_cpus()
    at_once = plan.concurrent or cpus // plan.threads
    wanted = min(at_once, plan.budget.trials) + 1
    return wanted if wanted * _LOADED_BYTES <= free_memory() / 4 else 0


def _ship_files() -> None:
    """Have what was read from files of one's own travel whole: workers cannot import it."""
    from ray import cloudpickle

    for name, module in list(sys.modules.items()):
        if name.startswith(FILE_MODULE_PREFIX):
            cloudpickle.register_pickle_by_value(module)


def _send(folder: Path, stop: StopRequest, progress: Progress) -> None:
    """Send what the run leaves to an object store, if it is in one and still this driver's."""
    if stop.lock_lost.is_set():
        return
    try:
        with _with_store(folder, "sending to the object store", progress):
            send_study(folder, sweep=True)
    except StoreError as error:
        progress.warn(
            f"report and logs were not sent ({error}); once it answers: {command('report', folder)}"
        )


@contextlib.contextmanager
def _with_store(folder: Path, what: str, progress: Progress) -> Iterator[None]:
    """Show that an object store is at work, where a study is in one."""
    if mirror_of(folder.parent) is None:
        yield
        return
    with progress.phase(what):
        yield


def _waits_for(holder: Holder) -> str:
    return (
        f"the study is locked by {holder}, which cannot be seen from here; waiting "
        f"{PATIENCE_SECONDS:g} s for a sign of life"
    )
