"""Ray Tune runs the trials; it executes and nothing else: the record is kept elsewhere."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError
from ray.tune import Stopper
from ray.tune.execution import class_cache
from ray.tune.execution.tune_controller import TuneController

from analysis.results import trial_name
from cluster.ahead import replaced
from cluster.resources import TrialResources
from study.death import LostToMemory
from study.handing_out import Queue
from study.placement import placed
from study.recorder import Recorder
from study.scheduler import ParetoHalvingScheduler, PausingScheduler
from study.searcher import StudySearcher
from study.stateless import StatelessForRay
from study.trial import StudentTrainable


class _StopAll(StatelessForRay, Stopper):
    """Ends the whole run when asked; Ray looks between any two events."""

    def __init__(self, stop_all: Callable[[], bool]) -> None:
        self._stop_all = stop_all

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Stop no single trial."""
        return False

    def stop_all(self) -> bool:
        """Whether to stop everything."""
        return self._stop_all()


def run_trials(
    context: "ray.ObjectRef[Any]",
    queue: Queue,
    scheduler: ParetoHalvingScheduler | PausingScheduler | None,
    recorder: Recorder,
    resources: TrialResources,
    *,
    own: bool,
    stop_all: Callable[[], bool],
) -> None:
    """Run trials until the queue has no more, or ``stop_all`` says so.

    Args:
        context: What trials share, in the object store.
        queue: What is tried next.
        scheduler: Early stopping, or None to train every student to its end.
        recorder: Hears everything that happens.
        resources: What a trial gets, and how many run at once.
        own: Whether the Ray is the study's own.
        stop_all: Asked between any two events.
    """
    trainable = tune.with_resources(
        tune.with_parameters(StudentTrainable, context=context),
        partial(placed, resources),
    )
    # Ray insists on a folder for a state of its own, which nobody reads.
    scratch = Path(tempfile.mkdtemp(prefix="study-ray-"))
    try:
        with (
            _memory_deaths_told(),
            _unready_not_waited_for(),
            _starting_left_alone(),
            _workers_as_they_are(own),
        ):
            tune.Tuner(
                trainable,
                tune_config=tune.TuneConfig(
                    search_alg=StudySearcher(queue),
                    scheduler=scheduler,
                    num_samples=-1,
                    max_concurrent_trials=resources.concurrent,
                    reuse_actors=True,
                    trial_name_creator=_trial_name,
                    trial_dirname_creator=_trial_name,
                ),
                run_config=tune.RunConfig(
                    name="trials",
                    storage_path=str(scratch),
                    callbacks=[recorder],
                    stop=_StopAll(stop_all),
                    # Else a worker keeps one there, and fails on a node without the driver's /tmp.
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    # Retried by the queue, from the record.
                    failure_config=tune.FailureConfig(max_failures=0),
                    verbose=0,
                ),
            ).fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def _memory_deaths_told() -> Iterator[None]:
    """Have Ray Tune hear of workers that Ray ended for want of memory.

    Such a worker's tasks fail with an error that is no ``RayActorError``; Ray Tune 2.60 takes it
    for an error of its own and raises it out of ``fit``, and one student too large would end the
    study.
    """
    failed = RayActorManager._actor_task_failed

    def told(manager: RayActorManager, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, OutOfMemoryError):
            exception = LostToMemory(str(exception))
        failed(manager, tracked_actor_task=tracked_actor_task, exception=exception)

    with replaced(RayActorManager, "_actor_task_failed", told):
        yield


@contextlib.contextmanager
def _unready_not_waited_for() -> Iterator[None]:
    """Have Ray Tune end workers that are not up yet at once.

    It would have them start, seconds of work, to ask them to stop; and at the end of a run that had
    more workers than trials were left, it waits five seconds for that.
    """
    remove = RayActorManager.remove_actor

    def removed(
        manager: RayActorManager, tracked_actor: Any, kill: bool = False, stop_future: Any = None
    ) -> bool:
        unready = manager._tracked_actors_to_state_futures.get(tracked_actor)
        if kill or not unready or tracked_actor not in manager._live_actors_to_ray_actors_resources:
            return bool(remove(manager, tracked_actor, kill=kill, stop_future=stop_future))
        for future in list(unready):
            manager._actor_state_events.discard_future(future)
            unready.remove(future)
        if stop_future is not None:
            manager._actor_task_events.discard_future(stop_future)
        # Nobody is to hear of who never was there, as Ray has it.
        for event in ("_on_start", "_on_stop", "_on_error"):
            setattr(tracked_actor, event, None)
        return bool(remove(manager, tracked_actor, kill=True))

    with replaced(RayActorManager, "remove_actor", removed):
        yield


@contextlib.contextmanager
def _starting_left_alone() -> Iterator[None]:
    """Have a trial whose worker is starting wait for it, while others can use the one that is free.

    Ray Tune would give it the free worker, end the one that starts, and start another for the next
    trial: where trials take less time than a worker's start, as those that a limit refuses, one
    worker does all the work. A trial whose worker still waits for a place takes the free one.
    """
    reuse = TuneController._maybe_reuse_cached_actor

    def reused(controller: TuneController, trial: Any) -> bool:
        own = controller._trial_to_actor.get(trial)
        starts = own in controller._actor_manager._live_actors_to_ray_actors_resources
        if starts and controller._pending_trials - controller._trial_to_actor.keys():
            return False
        return bool(reuse(controller, trial))

    with replaced(TuneController, "_maybe_reuse_cached_actor", reused):
        yield


@contextlib.contextmanager
def _workers_as_they_are(own: bool) -> Iterator[None]:
    """Have Ray Tune take workers that are there already.

    It asks for workers with some variables of the driver in their environment, and one for another
    library (``PL_DISABLE_FORK``), so that each actor waits seconds for a process of its own to
    start. Workers have what a study gives them, those of a Ray of its own all of the driver's.
    """
    asked = dict(class_cache.DEFAULT_ENV_VARS)
    propagated = class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.DEFAULT_ENV_VARS.clear()
    if own:
        class_cache.ENV_VARS_TO_PROPAGATE = type(propagated)()
    try:
        yield
    finally:
        class_cache.DEFAULT_ENV_VARS.update(asked)
        class_cache.ENV_VARS_TO_PROPAGATE = propagated


def _trial_name(trial: Any) -> str:
    return trial_name(trial.config["number"])
