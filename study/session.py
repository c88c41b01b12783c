"""One run of the driver over a study: prepare, run the trials, confirm the front, report.

Whatever happens, it ends by adding itself to the record and by writing the report.
"""

import contextlib
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from analysis import results
from analysis.stored_plan import read_plan
from cluster.connect import Cluster
from cluster.resources import TrialResources
from study.budget import Left
from study.commands import command
from study.constraints import Constraints
from study.database import database_gone
from study.ending import NO_FRONT, Ending, StopRequest, why_no_front
from study.environment import describe_environment
from study.failures import TOO_MANY_FAILURES, fine_from
from study.guide import Guide
from study.halting import Halted, halted_at_last, halted_by
from study.handing_out import Queue
from study.inputs import StudyInputs
from study.placement import still_usable
from study.preparation import Prepared, prepare
from study.progress import Progress
from study.publishing import CLOSE_TRACKER_SECONDS, publish
from study.record import StudyRecord
from study.recorder import WAITED, Limits, Recorder
from study.refusals import refusals
from study.replicate_queue import ReplicateQueue, is_round_open, lacks_runs
from study.replicates import FurtherRun, further
from study.reserve import Reserve
from study.retention import prune, spare_ahead, students_at_the_end, students_to_keep
from study.scheduler import ParetoHalvingScheduler, PausingScheduler
from study.searcher import TrialQueue
from study.seed_points import seed_points
from study.session_time import SessionTime
from study.stopping import make_guide, make_scheduler
from study.teacher_choice import note_compared_with, poor_teacher
from study.tracking.session import front_of, open_study, show_teacher
from study.tracking.synchronise import replay
from study.tracking.tracker import NO_TRACKING, Tracker, default_tracking_uri

_OUT_OF_TIME = "what was left of the budget would have ended no further training"
_KEPT = "the rest of the budget was kept for replicates"

Q = TypeVar("Q", bound=Queue)


class Session:
    """One run of the driver over a study.

    Args:
        inputs: The plan with everything it names.
        record: The study's record, locked by this driver.
        cluster: Where it runs.
        resources: What a trial gets.
        progress: What is shown.
        stop: Whether a signal asked to stop.
        begun: When the driver began, on the monotonic clock (s).
    """

    def __init__(
        self,
        inputs: StudyInputs,
        record: StudyRecord,
        cluster: Cluster,
        resources: TrialResources,
        progress: Progress,
        stop: StopRequest,
        begun: float,
    ) -> None:
        self._inputs = inputs
        self._plan = inputs.plan
        self._record = record
        self._cluster = cluster
        self._resources = resources
        self._progress = progress
        self._stop = stop
        self._time = SessionTime(record, begun, resources.concurrent, stop.lock_lost)
        self._unfit: frozenset[str] = frozenset()  # nodes, by Ray's names
        self._unreadable: dict[int, str] = {}  # students, by number; each is told of once
        self._tracker: Tracker = Tracker()
        self._stored = read_plan(inputs.folder / results.PLAN_FILE)
        # While it searches, where it is not to take all the time there is.
        self._reserve: Reserve | None = None

    def run(self) -> Ending:
        """Prepare, run the trials, confirm, report; close the record whatever happens."""
        ending = Ending("failed", 1)
        try:
            self._begin()
            ending = self._work()
        except KeyboardInterrupt:
            ending = self._interrupted()
        except Exception as error:
            halted = error if isinstance(error, Halted) else halted_by(error, self._inputs.folder)
            if halted is None and not isinstance(error, refusals()):
                raise
            # What is refused now is no mistake of the command line: the study has begun.
            word = "failed" if halted is None else "halted"
            ending = Ending(word, 1, str(halted or error))
        finally:
            ending = self._close(ending)
        return ending

    def _close(self, ending: Ending) -> Ending:
        """Add this run to the record and show what came of it; another driver's is not touched.

        Returns:
            The ending, with a signal's exit code where that came while it was being shown, or that
            of a study that something outside stands in the way of, where that does only now.
        """
        if self._stop.lock_lost.is_set():
            return ending
        folder = self._inputs.folder
        try:
            self._time.close(ending.word)
        except Exception as error:
            # Where the disk is full, what the trials wrote is all there is to keep.
            ending = halted_at_last(ending, error, folder)
            if database_gone(error, folder) is not None:
                self._tracker.close(CLOSE_TRACKER_SECONDS)
                return ending  # nor is there anything to read
        try:
            publish(
                self._record,
                self._stored,
                self._tracker,
                self._progress,
                ending.word,
                tracked=self._plan.tracking_uri != NO_TRACKING,
            )
        except KeyboardInterrupt:
            again = [command(verb, self._record.folder) for verb in ("report", "sync")]
            self._progress.warn(
                "stopped while the report was written and MLflow brought up to date; the record is "
                f"whole: {', '.join(again)}"
            )
            return replace(ending, exit_code=self._stop.exit_code)
        except Exception as error:
            ending = halted_at_last(ending, error, folder)
            self._tracker.close(CLOSE_TRACKER_SECONDS)
        return ending

    def _begin(self) -> None:
        """Open this run in the record, and close one that was killed; open the tracker."""
        self._time.open()
        # Of trials it is noted as they go.
        self._progress.meanwhile = self._time.note_if_due
        uri = self._plan.tracking_uri or default_tracking_uri(self._inputs.studies)
        self._tracker = open_study(self._record, self._stored, uri, self._progress.warn)
        replay(self._record, self._tracker, self._progress.warn)

    def _work(self) -> Ending:
        self._record.set_attribute(results.ATTR_ENVIRONMENT, describe_environment())
        self._time.enter("preparing")
        prepared = prepare(
            self._plan,
            self._inputs.space,
            self._inputs.data,
            self._inputs.folder,
            self._cluster,
            self._progress,
            # Students of one study are all trained alike, also those of a later run.
            self._record.attribute(results.ATTR_PRECISION) or self._plan.precision,
            self._known(),
        )
        self._record.set_attribute(results.ATTR_PRECISION, prepared.context.precision)
        self._note_compared_with(prepared)
        return self._trials_and_front(prepared)

    def _known(self) -> results.TeacherResult | results.DefaultStudent | None:
        """Whom an earlier run compared the students with."""
        teacher = self._record.attribute(results.ATTR_TEACHER)
        if teacher is not None:
            return results.TeacherResult.from_json(teacher)
        default = self._record.attribute(results.ATTR_DEFAULT_STUDENT)
        return None if default is None else results.DefaultStudent.from_json(default)

    def _trials_and_front(self, prepared: Prepared) -> Ending:
        import ray

        from study.confirmation import confirm
        from study.exporting.programs import make_on_cluster
        from study.illustrations import Illustrator, kinds_for

        plan, record, progress = self._plan, self._record, self._progress
        reference = ray.put(prepared.context)
        self._time.enter("trials")
        ending = self._run_trials(reference)
        self._time.enter("confirming")
        if ending.exit_code in (0, 3):
            gpus = plan.gpus_per_trial > 0
            self._cluster = still_usable(self._cluster, record.folder, self._unfit, gpus=gpus)
            self._resources = replace(self._resources, selector=self._cluster.selector)
        lacks = plan.replicates > 1 or is_round_open(record, plan, self._stored.space)
        if ending.exit_code == 0 and lacks:
            ending = self._run_replicates(prepared, reference, ending)
        if ending.exit_code in (0, 3):
            shared = record, prepared.context, reference, self._cluster, progress, plan.retries
            confirm(*shared, self._unreadable)
            # Before the students of controls are removed.
            own = record, self._stored.space, prepared.context, reference, plan.teacher
            illustrator = Illustrator(*own, self._cluster, progress, plan.retries)
            illustrator.draw(kinds_for(self._inputs.space))
            # Runs that are missing may move others to the front, who need their students then.
            spare = 0 if ending.word == "complete" else self._spare
            trials, score = record.trials(), self._stored.space.score
            prune(record.folder, trials, students_at_the_end(trials, record.third, spare, score))
            if plan.tracking_uri != NO_TRACKING:
                front, space = front_of(record), self._inputs.space
                make_on_cluster(record.folder, front, space, self._cluster, progress)
        if ending.exit_code == 0 and not front_of(self._record):
            asked = self._stored.space.score, plan.min_score
            return Ending(NO_FRONT, 1, why_no_front(record.trials(), *asked, ending.note))
        return ending

    # Trials

    def _run_trials(self, reference: Any) -> Ending:
        """Search: run the plan's trials."""
        plan, record = self._plan, self._record
        guide = make_guide(plan, record, self._inputs.space, self._inputs.earlier)
        scheduler = make_scheduler(plan, record, self._stored.space, guide)
        seeds = seed_points(self._inputs.space, plan.preset, plan.fixed)
        if plan.replicates > 1 and plan.budget.is_timed:
            workers = self._resources.concurrent
            self._reserve = Reserve(record, plan, self._stored.space, workers)

        def make_queue(enough: Callable[[], bool], left: Callable[[], Left]) -> TrialQueue:
            space, earlier = self._inputs.space, self._inputs.earlier
            return TrialQueue(record, space, plan, seeds, enough, guide, earlier, left)

        shown = self._progress.trials_phase(plan.budget.trials, self._time.deadline(plan.budget))
        pausing = guide if plan.scheduler == "pause" else None
        recorder, queue = self._drive(reference, make_queue, scheduler, shown, pausing)
        self._unfit = queue.no_good
        ending = self._ending(recorder, queue)
        if self._reserve is not None and ending.note == _KEPT:
            self._reserve.give_way()
        return ending

    def _run_replicates(self, prepared: Prepared, reference: Any, ending: Ending) -> Ending:
        """Train the runs that the front, its rivals and its controls lack; as a search ends."""
        from study.confirmation import time_front

        plan, record, progress = self._plan, self._record, self._progress
        self._reserve = None
        own = record, prepared.context, reference, self._cluster, progress, plan.retries
        known, begun = (record, plan, self._stored.space), set[FurtherRun]()
        spent = self._time.spent(plan.budget, results.device_seconds(record.trials()))
        ended = Ending("complete", 0) if spent is None else Ending("budget", 0, spent)
        while ended.word != "budget":
            # Whom a round has brought near the front is timed before the next one is decided.
            if not is_round_open(*known, begun):
                time_front(*own, self._unreadable)
                if not lacks_runs(*known, begun):
                    return ending
            ended = self._drive_replicates(reference, begun)
            if ended.exit_code != 0:
                return ended
        time_front(*own, self._unreadable)
        return self._without_replicates(ended) if lacks_runs(*known) else ending

    def _drive_replicates(self, reference: Any, begun: set[FurtherRun]) -> Ending:
        plan, record, expects = self._plan, self._record, self._progress.expects

        def make_queue(enough: Callable[[], bool], left: Callable[[], Left]) -> ReplicateQueue:
            own = record, self._inputs.space, plan, self._stored.space
            fused_by = self._resources.concurrent if plan.fuses_runs else None
            return ReplicateQueue(*own, enough, begun, expects, fused_by, left)

        total = len(further(record.trials()))
        shown = self._progress.trials_phase(total, self._time.deadline(plan.budget), "replicates")
        self._time.enter("replicates")
        recorder, queue = self._drive(reference, make_queue, None, shown)
        self._time.enter("confirming")
        return self._ending(recorder, queue)

    def _without_replicates(self, ending: Ending) -> Ending:
        """Say of a study whose time is spent that it lacks runs, and the mend."""
        plan, trials = self._plan, self._record.trials()
        some = "not all" if further(trials) else "no"
        left = self._time.left(plan.budget, results.device_seconds(trials), plan.devices_per_trial)
        more = [word for option in left.bounds for word in (option, "MORE")]
        asked = ("--replicates", str(plan.replicates), *more)
        again = command("resume", self._record.folder, *asked)
        note = f"{ending.note}, so {some} replicates were trained; those missing: `{again}`"
        return Ending(ending.word, ending.exit_code, note)

    def _drive(
        self,
        reference: Any,
        make_queue: Callable[[Callable[[], bool], Callable[[], Left]], Q],
        scheduler: ParetoHalvingScheduler | PausingScheduler | None,
        shown: contextlib.AbstractContextManager[None],
        guide: Guide | None = None,
    ) -> tuple[Recorder, Q]:
        """Run what a queue hands out, until it has no more or something ends it."""
        from study.execution import run_trials

        plan, record = self._plan, self._record

        def enough() -> bool:
            if self._time.is_note_due and recorder.fatal is None:
                recorder.guard(self._time.note)
            return (
                self._stop.signum is not None
                or self._spent(recorder) is not None
                or recorder.fatal is not None
                or recorder.too_many_failures()
            )

        def all_begun() -> bool:
            return enough() or self._kept_back(recorder) is not None

        queue = make_queue(all_begun, lambda: self._left(recorder))
        recorder = Recorder(
            record,
            self._tracker,
            self._progress,
            scheduler.stops if isinstance(scheduler, ParetoHalvingScheduler) else {},
            queue,
            Limits(
                plan.max_failures,
                plan.retries,
                plan.devices_per_trial,
                fine_from(plan.scheduler, plan.max_epochs),
                Constraints.of(plan, self._inputs.space),
            ),
            scheduler.paused if isinstance(scheduler, PausingScheduler) else None,
            self._spare,
            guide,
            self._stop.lock_lost,
        )
        self._progress.known(record.trials(), self._stored.space)
        self._prune()
        recorder.guard(recorder.bound_waiting)
        self._stop.between_trials = True
        ended = False
        try:
            with shown:
                run_trials(
                    reference,
                    queue,
                    scheduler,
                    recorder,
                    self._resources,
                    own=plan.address is None,
                    stop_all=enough,
                )
            ended = True
        finally:
            self._stop.between_trials = False
            # An error tells nothing of the trials: those that ran are left to the next run.
            recorder.close(self._why_closed(recorder, queue) if ended else None)
        if recorder.fatal is not None:
            raise recorder.fatal
        return recorder, queue

    def _why_closed(self, recorder: Recorder, queue: Queue) -> str | None:
        """Why trials that still ran are closed for good; None leaves them to the next run."""
        if recorder.too_many_failures():
            return None  # who has not failed goes on where more failures are allowed
        if (spent := self._spent(recorder)) is not None:
            return spent
        if self._stop.signum is not None or recorder.fatal is not None:
            return None
        if queue.out_of_time or self._kept_back(recorder) is not None:
            return self._late
        # What still waits when nothing more is handed out is not gone on with.
        return WAITED if self._plan.scheduler == "pause" else None

    def _ending(self, recorder: Recorder, queue: Queue) -> Ending:
        if self._stop.signum is not None:
            return self._interrupted()
        if recorder.too_many_failures():
            reasons = [t.reason or "" for t in self._record.trials() if t.status == "failed"]
            most = max(set(reasons), key=reasons.count)
            note = f"{len(reasons)} trials failed, most often: {most}"
            return Ending(TOO_MANY_FAILURES, 3, note)
        if queue.exhausted and not recorder.cut:
            return Ending("complete", 0, queue.exhausted)
        late = self._late if queue.out_of_time else None
        spent = self._spent(recorder) or self._kept_back(recorder) or late
        return Ending("complete", 0) if spent is None else Ending("budget", 0, spent)

    def _spent(self, recorder: Recorder) -> str | None:
        """Which bound on time is reached, or None."""
        return self._time.spent(self._plan.budget, recorder.device_seconds)

    @property
    def _late(self) -> str:
        return _OUT_OF_TIME if self._reserve is None else _KEPT

    def _kept_back(self, recorder: Recorder) -> str | None:
        """Say that what is left is for further runs, where it is."""
        if self._reserve is None:
            return None
        spent = self._time.spent(self._reserve.budget, recorder.device_seconds)
        return None if spent is None else _KEPT

    def _left(self, recorder: Recorder) -> Left:
        """What is left of the bounds on time, but for what is kept back."""
        plan = self._plan
        budget = plan.budget if self._reserve is None else self._reserve.budget
        return self._time.left(budget, recorder.device_seconds, plan.devices_per_trial)

    def _interrupted(self) -> Ending:
        if self._stop.lock_lost.is_set():
            return Ending("lock lost", 4, "another driver has taken this study over")
        code = self._stop.exit_code
        return Ending(signal.Signals(code - 128).name, code)

    def _prune(self) -> None:
        """Remove what no trial needs any more, also what a killed driver left."""
        trials = self._record.trials()
        keep = students_to_keep(trials, self._plan.third, self._spare)
        prune(self._record.folder, trials, keep)

    @property
    def _spare(self) -> int:
        """How many may be ahead of a student that is kept until all runs are scored."""
        return spare_ahead(self._record.trials(), self._plan.replicates)

    # The teacher

    def _note_compared_with(self, prepared: Prepared) -> None:
        compared = prepared.compared_with
        if self._record.attribute(results.ATTR_REFERENCE_POINT) is None:
            note_compared_with(self._record, compared, self._stored, self._plan.third)
        if isinstance(compared, results.TeacherResult):
            floor, score = self._stored.data.floor_score, self._inputs.space.score
            poor = poor_teacher(compared, floor, score, own=self._plan.teacher is not None)
            if poor is not None:
                self._progress.warn(poor)
            show_teacher(self._tracker, self._stored, compared, prepared.recipe, prepared.curve)
