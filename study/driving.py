"""Driving a study from the command line: signals, the log, what is shown and the exit code."""

import contextlib
import json
import logging
import signal
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analysis import results
from cluster.connect import Cluster, available_cpus, check_address, is_own, set_ray_defaults
from cluster.forking import ForkServer, can_fork
from cluster.kinds import Node, keep_to_one_kind, processor_name
from cluster.resources import plan_resources
from search_spaces.space import SearchSpace
from study.plan import PlanError, StudyPlan, check_writable
from study.unread import say

if TYPE_CHECKING:
    from study.ending import Ending, StopRequest
    from study.inputs import StudyInputs
    from study.progress import Progress

logger = logging.getLogger(__name__)

# What every worker needs and what Ray is built on, but not Ray itself: of the environment that its
# worker is given it reads what it is as it is imported.
LOADED_FIRST = (
    *("study.student", "study.distillation.trainer", "study.distillation.measurement"),
    *("torch", "torch.utils.flop_counter", "torchvision"),
    *("pandas", "pyarrow.dataset", "pyarrow.fs", "pyarrow.parquet"),
    *("fsspec", "google.protobuf", "jsonschema", "pydantic", "requests", "rich.console"),
)


@dataclass(frozen=True)
class Shown:
    """What the user wants to see: one JSON object, warnings alone, tracebacks."""

    json: bool = False
    quiet: bool = False
    debug: bool = False


def check(plan: StudyPlan, space: SearchSpace, studies: Path) -> None:
    """Refuse in under a second what cannot be done, without Ray and without torch.

    Raises:
        ValueError: one of the refusals, each a clear line.
    """
    from study.database import check_database
    from study.distillation.teacher_checkpoint import inspect_checkpoint
    from study.inputs import check_asked_as_before
    from study.lock import check_free
    from study.record import check_storage, read_plan_file
    from study.runtime_check import check_runtime
    from study.task import task_of
    from study.tracking.tracker import check_tracking_uri
    from study.warm_start import earlier_for

    check_writable(studies)
    check_free(studies / plan.name)
    check_asked_as_before(studies / plan.name, plan, space)
    problem = check_storage(plan.storage)
    if problem is None and plan.storage is not None:
        problem = check_database(plan.storage, plan.name, read_plan_file(studies / plan.name))
    if problem is None and plan.tracking_uri:
        problem = check_tracking_uri(plan.tracking_uri)
    if problem is not None:
        raise PlanError(problem)
    check_runtime(plan, space)
    task_of(space).describe(plan)
    earlier_for(plan, space, studies)
    if plan.teacher is not None:
        inspect_checkpoint(Path(plan.teacher))
    if plan.address is None and plan.gpus_per_trial == 0:
        # On this machine's CPUs it is known before Ray is started what fits.
        cpus = available_cpus()
        kept = (read_plan_file(studies / plan.name) or {}).get(results.DEVICE_KIND)
        here = Node("here", cpus, 0, processor_name())
        keep_to_one_kind(
            Cluster("local", cpus, 0, 1, cpus), [here], plan.device_kind, kept, gpus=False
        )
        plan_resources(
            [here], cpus_per_trial=plan.threads, gpus_per_trial=0, concurrent=plan.concurrent
        )
    check_address(plan.address)


@dataclass
class _Course:
    """What a run has come to so far, whatever it is cut short by."""

    ending: "Ending | None" = None
    crash: Exception | None = None
    log: Path | None = None

    def exit_code(self, stop: "StopRequest") -> int:
        """The run's own; a signal's where there was no run, or none to its end.

        So also where a run breaks as it is being stopped: what ends a driver may end its Ray too.
        """
        from study.refusals import FAILED, LOCKED

        if self.crash is not None and stop.signum is None:
            return FAILED
        if self.ending is not None:
            return self.ending.exit_code
        return LOCKED if stop.lock_lost.is_set() else stop.exit_code


def drive(plan: StudyPlan, space: SearchSpace, studies: Path, shown: Shown) -> int:
    """Run a checked plan to its end and return the exit code.

    A signal that comes after that end, while the log is kept or the end is told, cuts those short.

    Raises:
        ValueError: one of the refusals.
    """
    set_ray_defaults(plan.address)
    from study.ending import StopRequest

    stop, course = StopRequest(), _Course()
    with _signals(stop):
        with contextlib.suppress(KeyboardInterrupt):
            _run(plan, space, studies, shown, stop, course)
        with contextlib.suppress(KeyboardInterrupt):
            _tell(studies / plan.name, course, shown)
        return course.exit_code(stop)


def _run(
    plan: StudyPlan,
    space: SearchSpace,
    studies: Path,
    shown: Shown,
    stop: "StopRequest",
    course: _Course,
) -> None:
    """Run a plan with its output in the log, and keep that; ``course`` takes what it comes to.

    Raises:
        ValueError: one of the refusals.
        KeyboardInterrupt: at a signal.
    """
    from study.last_words import last_words
    from study.lock import LockedError, LockReadError
    from study.logs import output_to_log
    from study.mirror import send_log
    from study.object_store import StoreError
    from study.progress import make_progress
    from study.refusals import refusals
    from study.runner import run_study

    folder, locked = studies / plan.name, False
    with output_to_log() as terminal, last_words(terminal, folder) as stop.say:
        # With --json standard output is for the object alone.
        progress = make_progress(terminal.err if shown.json else terminal.out, quiet=shown.quiet)
        try:
            with _fork_server(plan) as fork_server:
                inputs = _load(plan, space, studies, progress)
                course.ending = run_study(inputs, progress, stop, fork_server)
        except refusals() as error:
            locked = isinstance(error, LockedError | LockReadError)
            raise
        except Exception as error:
            course.crash = error
            say(traceback.format_exc(), sys.stderr)
        finally:
            # The log of a study is its driver's.
            course.log = _keep_log(terminal.log, None if locked else folder)
            if not locked and not stop.lock_lost.is_set():
                with contextlib.suppress(StoreError):  # as was said already
                    send_log(folder)


def _keep_log(log: Path, folder: Path | None) -> Path | None:
    """Keep a log with its study; on a full disk it stays where it is, and the run's end is told."""
    from study.logs import keep_log

    try:
        return keep_log(log, folder)
    except OSError:
        return log


@contextlib.contextmanager
def _fork_server(plan: StudyPlan) -> "Iterator[ForkServer | None]":
    """Have what workers need loaded while the data are read, where they run on this machine."""
    from study.environment import worker_environment

    # A process that has as much as counted GPUs leaves none to those that are forked from it.
    on_gpus = plan.gpus_per_trial > 0
    if not is_own(plan.address) or on_gpus or not can_fork():
        yield None
        return
    server = None
    try:
        server = ForkServer(LOADED_FIRST, worker_environment(plan.threads))
    except OSError as error:  # there is no place for its socket
        logger.warning("workers load what they need by themselves, which takes longer: %s", error)
    try:
        yield server
    finally:
        if server is not None:
            server.close()


def _load(
    plan: StudyPlan, space: SearchSpace, studies: Path, progress: "Progress"
) -> "StudyInputs":
    """Show the plan and read what it names; nothing is written before all of it fits."""
    from study.class_task import class_data
    from study.inputs import StudyInputs
    from study.plan_view import plan_rows
    from study.preparation import check_precision, check_space, check_views, find_teacher
    from study.student_weights import check_student_weights
    from study.task import task_of
    from study.teacher_choice import teacher_recipe
    from study.warm_start import earlier_for

    task = task_of(space)
    summary = task.describe(plan)
    recipe = teacher_recipe(plan, space, summary.name) if space.taught else None
    earlier = earlier_for(plan, space, studies)
    for name, text in plan_rows(plan, space, summary, recipe, earlier):
        progress.fact(name, text)
    check_student_weights(plan, space, progress)
    with progress.phase(f"data {Path(plan.data).name}") as phase:
        data = task.load(
            plan,
            space,
            cache_dir=studies / "datasets",
            progress=lambda what, done, total: phase.update(done, total, what),
        )
        phase.note = f"{len(data.train)} + {len(data.validation)} + {len(data.test)} images"
    check_precision(plan)
    check_space(space, data, plan)
    teacher = "none"
    if recipe is not None:
        check_views(plan, recipe, class_data(data))
        teacher = find_teacher(plan, space, recipe, class_data(data), studies)
    if earlier is not None:
        shown, earlier = earlier.lines, earlier.on(data.content_hash, teacher)
        for line in earlier.lines[len(shown) :]:
            progress.fact("warm start", line)
    return StudyInputs(plan, space, data, teacher, studies, earlier)


def _tell(folder: Path, course: _Course, shown: Shown) -> None:
    """Say how a run has ended."""
    if course.crash is not None:
        _report_crash(course.crash, course.log, debug=shown.debug)
    elif course.ending is not None:
        _conclude(folder, course.ending, shown)
    elif not shown.quiet:
        when = "" if (folder / results.PLAN_FILE).exists() else " before the first trial"
        stream = sys.stderr if shown.json else sys.stdout
        say(f"stopped{when}; give the same command to go on", stream)


def _conclude(folder: Path, ending: "Ending", shown: Shown) -> int:
    from analysis.record import RecordReadError
    from study.closing import print_summary
    from study.summary import summarise

    try:
        summary = summarise(folder)
    except RecordReadError:
        if ending.word not in ("halted", "failed"):
            raise
        say(f"error: {ending.note}", sys.stderr)
        return ending.exit_code
    if shown.json:
        end = {"ended": ending.word, "note": ending.note}
        say(json.dumps({**summary.to_json(), **end}), sys.stdout)
    elif not shown.quiet:
        print_summary(summary, ending)
    if ending.note and (ending.exit_code in (1, 3, 4) or ending.word == "halted"):
        say(f"error: {ending.note}", sys.stderr)
    return ending.exit_code


def _report_crash(error: Exception, log: Path | None, *, debug: bool) -> None:
    first = str(error).splitlines()[0] if str(error) else ""
    say(f"error: {type(error).__name__}: {first}", sys.stderr)
    if log is not None:
        say(f"The traceback is in {log}.", sys.stderr)
    if debug:
        say("".join(traceback.format_exception(error)), sys.stderr)


@contextlib.contextmanager
def _signals(stop: "StopRequest") -> Iterator[None]:
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    stop.install()
    try:
        yield
    finally:
        stop.close()
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
