"""The recorder against a real record; Ray's trials are stood in for by what it reads of them."""

import io
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from analysis.front import front_members
from analysis.results import EpochResult, Latency, ModelSize, Ratio, ReferencePoint, Timing, Usage
from analysis.runs import estimates
from search_spaces.cifar_blocks import SPACE
from study.arguments import parser
from study.constraints import Constraints
from study.death import LostToMemory, UnfitWorker
from study.halting import Halted
from study.plan import StudyPlan
from study.progress import Progress
from study.proposal import distributions
from study.record import StudyRecord
from study.recorder import WAITED, Limits, Recorder
from study.resolving import resolve
from study.scheduler import Stop
from study.searcher import Refused, TrialQueue
from study.tracking.tracker import Tracker
from study.trial_context import trial_folder

TIMING = Timing(2.0, 2.5)
RATIO = Ratio(2.0, 1.9, 2.1)
LATENCY = Latency(
    "cpu", 1, "float32", False, 20, TIMING, TIMING, TIMING, TIMING, RATIO, RATIO
).to_json()
MODEL = ModelSize(1.0, 2.0, 3).to_json()


@dataclass
class RayTrial:
    """What the recorder reads of a trial of Ray's."""

    config: dict[str, Any]
    error: Exception | None = None
    pickled_error_file: str | None = None

    def get_error(self) -> Exception | None:
        return self.error


@dataclass
class Heard(Tracker):
    """Keeps what the tracker is told of the end of trials."""

    ends: list[tuple[int, str, str | None]] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def trial_finished(self, number: int, status: str, reason: str | None, metrics: Any) -> None:
        self.ends.append((number, status, reason))

    def study_progress(self, trials: int, metrics: Any) -> None:
        self.steps.append(trials)


@dataclass
class Bench:
    record: StudyRecord
    recorder: Recorder
    tracker: Heard
    stops: dict[int, Stop]
    queue: TrialQueue

    def start(
        self, epochs: int = 2, label: str | None = None, control_of: int | None = None
    ) -> RayTrial:
        params = SPACE.complete({"learning_rate": 0.01 + len(self.record.trials()) / 1000})
        number = self.record.add_trial(
            params,
            distributions(SPACE, params),
            source="sampler",
            label=label,
            architecture="a",
            epochs=epochs,
            control_of=control_of,
        )
        trial = RayTrial({"number": number})
        self.recorder.on_trial_start(0, [], trial)
        return trial

    def report(self, trial: RayTrial, **result: Any) -> None:
        self.recorder.on_trial_result(0, [], trial, {"latency_ms": 5.0, **result})

    def train(self, trial: RayTrial, *epochs: int) -> None:
        self.report(trial, model=MODEL, latency=LATENCY)
        for number in epochs:
            curve = [EpochResult(number, 1.0, 1.0, 50.0 + number, 0.1, 3.0).to_json()]
            self.report(trial, curve=curve)

    def status(self, trial: RayTrial) -> tuple[str, str | None]:
        result = self.record.trial(trial.config["number"])
        return result.status, result.reason


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    record = StudyRecord(tmp_path, "study", None)
    record.set_attribute("reference_point", ReferencePoint(10.0, 10.0, 100.0).to_json())
    tracker, stops = Heard(), {}
    queue = TrialQueue(record, SPACE, make_plan(), (), lambda: False)
    limits = Limits(max_failures=0.5, retries=2, devices=2.0)
    recorder = Recorder(record, tracker, Progress(io.StringIO()), stops, queue, limits)
    return Bench(record, recorder, tracker, stops, queue)


def make_plan() -> StudyPlan:
    plan, _ = resolve(parser().parse_args(["--space", "cifar_blocks", "--data", "digits"]))
    return plan


def test_a_trial_trained_to_its_end_is_complete(bench: Bench) -> None:
    trial = bench.start()
    bench.train(trial, 1, 2)
    bench.recorder.on_trial_complete(0, [], trial)

    result = bench.record.trial(0)
    assert bench.status(trial) == ("complete", None)
    assert result.val_score == 52.0
    assert result.latency_ms == 5.0  # the teacher's idle 10 ms over the ratio of 2
    assert result.train_seconds == 6.0


def test_a_trial_stopped_at_a_rung_says_which_and_by_whom(bench: Bench) -> None:
    trial = bench.start()
    bench.train(trial, 1)
    bench.stops[0] = Stop(1, (3, 4), 7)
    bench.recorder.on_trial_complete(0, [], trial)

    assert bench.status(trial)[0] == "stopped"
    assert "t0003, t0004" in (bench.status(trial)[1] or "")
    assert bench.record.trial(0).outcome.rung == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(("key", "status"), [("failure", "failed"), ("infeasible", "infeasible")])
def test_a_trial_that_reports_why_it_ends_is_recorded_so(
    bench: Bench, key: str, status: str
) -> None:
    trial = bench.start()
    bench.report(trial, **{key: "the loss is not a number"})
    bench.recorder.on_trial_complete(0, [], trial)

    assert bench.status(trial) == (status, "the loss is not a number")
    assert bench.tracker.ends == [(0, status, "the loss is not a number")]


@pytest.mark.parametrize("label", [None, "ours"])
def test_a_student_below_the_least_score_is_on_no_front(bench: Bench, label: str | None) -> None:
    constraints = Constraints(max_params_m=2.0, min_score=52.5)
    bench.recorder._limits = Limits(constraints=constraints)
    poor, good = bench.start(label=label), bench.start(epochs=3)
    bench.train(poor, 1, 2)
    bench.train(good, 1, 2, 3)
    for trial in (poor, good):
        bench.recorder.on_trial_complete(0, [], trial)

    first, second = bench.record.trials()
    # What is tried first is there to be compared with.
    assert first.status == ("infeasible" if label is None else "complete")
    assert first.reason == "accuracy 52.00\u00a0%, less than 52.50\u00a0%"
    assert (second.status, second.reason) == ("complete", None)
    assert front_members([first, second]) == (second,)
    told = [trial.constraints for trial in bench.record.frozen_trials()]
    assert told[0] == pytest.approx({"params": -0.5, "score": 1 - 52 / 52.5})
    assert told[1] == pytest.approx({"params": -0.5, "score": 1 - 53 / 52.5})


def test_a_further_run_below_the_least_score_counts_in_the_mean(bench: Bench) -> None:
    bench.recorder._limits = Limits(constraints=Constraints(min_score=52.5))
    first = bench.start(epochs=3)
    poor = RayTrial({"number": bench.record.add_replicate(0, 1)})
    bench.recorder.on_trial_start(0, [], poor)
    bench.train(first, 1, 2, 3)
    bench.report(poor, model=MODEL, latency=LATENCY)
    for epoch in (1, 2, 3):
        curve = [EpochResult(epoch, 1.0, 1.0, 50.0, 0.1, 3.0).to_json()]
        bench.report(poor, curve=curve)
    for trial in (first, poor):
        bench.recorder.on_trial_complete(0, [], trial)

    trials = bench.record.trials()
    assert bench.status(poor) == ("complete", "accuracy 50.00\u00a0%, less than 52.50\u00a0%")
    assert estimates(trials)[0].mean == (53.0 + 50.0) / 2
    assert front_members(trials) == (trials[0],)
    told = bench.record.frozen_trials()[1].constraints
    assert told == pytest.approx({"score": 1 - 50 / 52.5})


def test_a_control_trained_after_the_search_is_complete_below_the_least_score(
    bench: Bench,
) -> None:
    bench.recorder._limits = Limits(constraints=Constraints(min_score=52.5))
    distilled = bench.start(epochs=3)
    bench.train(distilled, 1, 2, 3)
    bench.recorder.on_trial_complete(0, [], distilled)
    control = bench.start(control_of=0)
    bench.train(control, 1, 2)
    bench.recorder.on_trial_complete(0, [], control)

    assert bench.status(control) == ("complete", "accuracy 52.00\u00a0%, less than 52.50\u00a0%")
    assert front_members(bench.record.trials()) == (bench.record.trial(0),)


def test_a_poor_score_says_nothing_of_the_architecture_and_a_large_student_does(
    bench: Bench,
) -> None:
    constraints = Constraints(max_params_m=0.5, min_score=60.0)
    bench.recorder._limits = Limits(constraints=constraints)
    large = bench.start()
    bench.report(large, model=MODEL, latency=LATENCY, infeasible="1.00 M parameters, too many")
    bench.recorder.on_trial_complete(0, [], large)
    trials = bench.record.trials()
    params = SPACE.complete({"learning_rate": 0.2})
    here = [replace(trials[0], architecture=SPACE.describe(params))]

    assert Refused(SPACE, here, constraints)(params)
    assert not Refused(SPACE, here, Constraints(min_score=60.0))(params)


def test_a_worker_that_dies_while_it_starts_leaves_a_failed_trial(bench: Bench) -> None:
    trial = bench.start()
    for _ in range(3):
        bench.recorder._running.clear()  # Ray tells of the error without having told of the start
        trial.error = RuntimeError("a long account\nValueError: no such layer\n")
        bench.recorder.on_trial_error(0, [], trial)

    assert bench.status(trial) == (
        "failed",
        "its worker died: ValueError: no such layer (3 times)",
    )


def test_a_trial_whose_worker_dies_is_handed_out_again_as_often_as_it_may_be(bench: Bench) -> None:
    trial = bench.start(epochs=9)
    bench.train(trial, 1)
    died = ActorDiedError()
    for retries in (1, 2):
        trial.error = died
        bench.recorder.on_trial_error(0, [], trial)
        task = bench.queue.next_task()

        assert task is not None
        assert task.number == 0
        assert bench.status(trial)[0] == "running"
        assert bench.record.trial(0).usage.retries == retries
        bench.recorder.on_trial_start(0, [], trial)
    bench.recorder.on_trial_error(0, [], trial)

    assert bench.status(trial) == ("failed", "its worker died (3 times)")
    assert bench.record.trial(0).usage.retries == 2
    assert not bench.queue.may_grow


def test_retries_are_remembered_by_the_next_driver(bench: Bench) -> None:
    trial = bench.start(epochs=9)
    trial.error = ActorDiedError()
    bench.recorder.on_trial_error(0, [], trial)
    reopened = StudyRecord(bench.record.folder, "study", None)

    assert reopened.trial(0).usage.retries == 1


def test_a_trial_ended_for_want_of_memory_is_infeasible_and_not_handed_out_again(
    bench: Bench,
) -> None:
    trial = bench.start()
    trial.error = LostToMemory("1 worker(s) were killed due to the node running low on memory")
    bench.recorder.on_trial_error(0, [], trial)

    status, reason = bench.status(trial)
    assert status == "infeasible"
    assert (reason or "").startswith("out of memory")
    assert bench.record.interrupted() == []
    assert bench.record.trial(0).usage.retries == 0


def test_several_runs_at_once_that_need_too_much_memory_are_tried_one_by_one(bench: Bench) -> None:
    trial = bench.start()
    bench.report(trial, model=MODEL, latency=LATENCY, together={"runs": 3, "told": "as one"})
    assert bench.record.trial(0).usage.runs == 3
    trial.error = LostToMemory("1 worker(s) were killed due to the node running low on memory")
    bench.recorder.on_trial_error(0, [], trial)

    assert bench.status(trial)[0] == "running"
    assert bench.record.trial(0).usage.runs == 1
    assert bench.record.trial(0).usage.retries == 0
    task = bench.queue.next_task()
    assert task is not None
    assert task.number == 0
    bench.recorder.on_trial_start(0, [], trial)
    bench.recorder.on_trial_error(0, [], trial)
    assert bench.status(trial)[0] == "infeasible"


def test_a_trial_that_goes_on_by_itself_is_no_longer_one_of_several(bench: Bench) -> None:
    trial = bench.start(epochs=9)
    bench.report(trial, model=MODEL, latency=LATENCY, together={"runs": 3, "told": "as one"})
    bench.recorder.close(None)
    assert bench.record.trial(0).usage.runs == 3

    again = renewed(bench)
    again.on_trial_start(0, [], trial)
    again.close(None)
    assert bench.record.trial(0).usage.runs == 1


def hold(bench: Bench, leader: RayTrial, *partners: RayTrial) -> None:
    """Have partners wait for the trial that trains them with it, as the replicates' queue does."""
    bench.recorder._running[leader.config["number"]].usage = Usage(runs=1 + len(partners))
    bench.queue._handed_out.add(leader.config["number"])
    bench.queue._held[leader.config["number"]] = [one.config["number"] for one in partners]
    for one in partners:
        bench.recorder._running.pop(one.config["number"])


def test_runs_whose_first_fails_are_closed_with_it(bench: Bench) -> None:
    control, other, third = (bench.start() for _ in range(3))
    hold(bench, control, other, third)
    bench.report(control, failure="the loss is not a number")
    bench.recorder.on_trial_complete(0, [], control)

    assert bench.status(control)[0] == "failed"
    for trial in (other, third):
        status, reason = bench.status(trial)
        assert status == "stopped"
        assert (reason or "").startswith("its first run, t0000, is failed")
    assert bench.record.interrupted() == []


def test_the_budgets_end_leaves_open_whom_another_has_trained(bench: Bench) -> None:
    leader, trained, running = (bench.start() for _ in range(3))
    hold(bench, leader, trained)
    bench.train(leader, 1, 2)
    bench.recorder.on_trial_complete(0, [], leader)
    bench.train(running, 1)
    bench.recorder.close("the budget of 5m is spent")

    assert bench.status(leader) == ("complete", None)
    assert bench.status(running) == ("stopped", "the budget of 5m is spent")
    assert bench.record.interrupted() == [trained.config["number"]]


def test_device_time_is_added_up_over_retries_and_reports(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr("study.recorder.time", clock)
    monkeypatch.setattr("study.running.time", clock)
    trial = bench.start(epochs=9)
    now = 101.0
    bench.report(trial, model=MODEL, latency=LATENCY)
    now, trial.error = 103.0, ActorDiedError()
    bench.recorder.on_trial_error(0, [], trial)
    now = 110.0  # until then, nobody works on it
    bench.recorder.on_trial_start(0, [], trial)
    now = 111.5
    bench.report(trial)
    bench.recorder.close(None)

    assert bench.record.trial(0).usage == Usage(retries=1, device_seconds=2 * 4.5)
    assert bench.recorder.device_seconds == 9.0


@pytest.mark.parametrize("elsewhere", ["", "/tmp/ray/session/part"])
def test_a_full_disk_halts_the_study_and_leaves_the_trial_to_be_continued(
    bench: Bench, elsewhere: str
) -> None:
    trial = bench.start(epochs=9)
    bench.train(trial, 1)
    bench.report(trial, disk_full=elsewhere, done=True)
    bench.recorder.on_trial_complete(0, [], trial)

    assert isinstance(bench.recorder.fatal, Halted)
    full = elsewhere or bench.record.folder
    assert f"the disk that holds {full} is full" in str(bench.recorder.fatal)
    assert bench.record.interrupted() == [0]


def test_every_trial_ends_once_however_often_ray_says_so(bench: Bench) -> None:
    trial = bench.start()
    bench.train(trial, 1, 2)
    for _ in range(3):
        bench.recorder.on_trial_complete(0, [], trial)
    bench.recorder.on_trial_error(0, [], trial)
    bench.recorder.close("the budget was spent")

    assert bench.status(trial) == ("complete", None)
    assert bench.tracker.ends[0] == (0, "complete", None)


def test_the_budget_closes_what_runs_for_good(bench: Bench) -> None:
    trained, fresh = bench.start(epochs=9), bench.start(epochs=9)
    queued = bench.start(epochs=9)
    bench.train(trained, 1)
    del bench.recorder._running[queued.config["number"]]  # added to the record, not started by Ray
    bench.recorder.close("the budget was spent")

    assert bench.status(trained) == ("stopped", "the budget was spent")
    assert bench.status(fresh) == ("stopped", "the budget was spent, before its first epoch")
    assert bench.status(queued)[0] == "stopped"
    assert bench.record.interrupted() == []


def test_a_signal_leaves_what_runs_to_the_next_run(bench: Bench) -> None:
    trial = bench.start(epochs=9)
    bench.train(trial, 1)
    bench.recorder.close(None)

    assert bench.status(trial)[0] == "running"
    assert bench.record.interrupted() == [0]
    assert bench.tracker.ends == [(0, "interrupted", "the study was stopped")]


def test_a_driver_whose_study_another_has_taken_over_writes_nothing_more(bench: Bench) -> None:
    lost = threading.Event()
    limits = Limits(max_failures=0.5, retries=2, devices=2.0)
    progress, queue = Progress(io.StringIO()), bench.queue
    bench.recorder = Recorder(bench.record, bench.tracker, progress, {}, queue, limits, lost=lost)
    trial = bench.start()
    bench.train(trial, 1)
    lost.set()
    bench.train(trial, 2)
    bench.recorder.close("the budget was spent")

    assert bench.status(trial) == ("running", None)
    assert bench.record.trial(0).epochs_done == 1
    assert bench.recorder.fatal is None


def test_epochs_reported_twice_are_recorded_once(bench: Bench) -> None:
    trial = bench.start()
    bench.train(trial, 1)
    bench.train(trial, 1, 2)  # its worker died and went on from the checkpoint
    bench.recorder.on_trial_complete(0, [], trial)

    assert [epoch.epoch for epoch in bench.record.trial(0).curve] == [1, 2]


def test_the_checkpoint_of_a_complete_trial_goes_and_its_student_stays(bench: Bench) -> None:
    complete, stopped = bench.start(), bench.start()
    for trial in (complete, stopped):
        folder = trial_folder(bench.record.folder, trial.config["number"])
        folder.mkdir(parents=True)
        for name in ("last.pt", "last.pt.previous", "student.pt"):
            (folder / name).write_text("weights")
    bench.train(complete, 1, 2)
    bench.train(stopped, 1)
    bench.recorder.on_trial_complete(0, [], complete)
    bench.recorder.on_trial_complete(0, [], stopped)

    left = sorted(
        path.relative_to(bench.record.folder) for path in bench.record.folder.rglob("*.pt*")
    )
    assert left == [Path("checkpoints/t0000/student.pt")]


def lose(bench: Bench, trial: RayTrial, error: Exception) -> None:
    trial.error = error
    bench.recorder.on_trial_error(0, [], trial)


def test_a_node_of_another_processor_fails_no_trial_and_is_kept_off_by_all(bench: Bench) -> None:
    wrong = UnfitWorker("its node has another processor", whole_node=True, node="b")
    trials = [bench.start(epochs=9) for _ in range(4)]
    for trial in trials:
        bench.train(trial, 1)
        lose(bench, trial, wrong)

    assert not bench.recorder.too_many_failures()
    tasks = [bench.queue.next_task() for _ in range(5)]
    numbers = [task.number for task in tasks if task is not None]
    assert numbers == [0, 1, 2, 3, 4]
    assert [task.avoided for task in tasks if task is not None] == [("b",)] * 5
    assert bench.queue.no_good == {"b"}
    # Of a trial's retries only what befalls it on a node that it was to keep off counts.
    assert [trial.usage.retries for trial in bench.record.trials()[:4]] == [0] * 4
    bench.recorder._lose(0, wrong)
    assert bench.record.trial(0).usage.retries == 1


def test_a_trial_whose_gpu_is_lost_again_and_again_fails_and_says_why(bench: Bench) -> None:
    lost, other = bench.start(epochs=9), bench.start(epochs=9)
    for node, avoided in [("a", ("a",)), ("b", ("a", "b")), ("a", None)]:
        lose(bench, lost, UnfitWorker("AcceleratorError: CUDA error: no", node=node))
        if avoided is not None:
            task = bench.queue.next_task()
            assert task is not None
            assert (task.number, task.avoided) == (0, avoided)
            bench.recorder.on_trial_start(0, [], lost)
    lose(bench, other, ActorDiedError())

    assert bench.status(lost) == ("failed", "AcceleratorError: CUDA error: no (3 times)")
    task = bench.queue.next_task()
    assert task is not None
    # What may be the fault of that trial keeps no other off.
    assert (task.number, task.avoided) == (1, ())


def test_too_many_failures_are_noticed_after_a_few(bench: Bench) -> None:
    for _ in range(4):
        assert not bench.recorder.too_many_failures()
        trial = bench.start()
        bench.report(trial, failure="no such layer")
        bench.recorder.on_trial_complete(0, [], trial)

    assert bench.recorder.too_many_failures()


def reach_the_rung(bench: Bench, *, wait: bool = True) -> RayTrial:
    """Train a trial as far as trials wait, which is after its second epoch; then have it wait."""
    trial = bench.start(epochs=9)
    bench.train(trial, 1, 2)
    if wait:
        bench.recorder._paused.add(trial.config["number"])
        bench.recorder.on_trial_complete(0, [], trial)
    return trial


def fail(bench: Bench, trial: RayTrial | None = None) -> None:
    trial = trial or bench.start(epochs=9)
    bench.report(trial, failure="the loss is nan")
    bench.recorder.on_trial_complete(0, [], trial)


def renewed(bench: Bench) -> Recorder:
    """What the next driver makes of the record."""
    progress, limits = Progress(io.StringIO()), bench.recorder._limits
    return Recorder(bench.record, bench.tracker, progress, {}, bench.queue, limits)


def test_who_waits_at_a_rung_or_went_on_from_one_is_no_failure(bench: Bench) -> None:
    bench.recorder._limits = replace(bench.recorder._limits, fine_from=2)
    for _ in range(2):
        reach_the_rung(bench)
    reach_the_rung(bench, wait=False)
    for _ in range(3):
        fail(bench)
    early = bench.start(epochs=9)
    bench.train(early, 1)  # nothing is known of it yet
    assert not bench.recorder.too_many_failures()
    assert not renewed(bench).too_many_failures()

    fail(bench)
    assert bench.recorder.too_many_failures()
    assert renewed(bench).too_many_failures()

    bench.train(early, 2)
    assert not bench.recorder.too_many_failures()
    fail(bench, early)  # whoever fails is not counted twice
    assert bench.recorder.too_many_failures()
    bench.recorder._limits = replace(bench.recorder._limits, max_failures=0.63)
    assert not bench.recorder.too_many_failures()
    assert not renewed(bench).too_many_failures()
    bench.recorder._limits = replace(bench.recorder._limits, fine_from=None)
    assert renewed(bench).too_many_failures()


def test_an_error_of_the_record_stops_the_study_instead_of_vanishing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = bench.start()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bench.record, "epoch", full)
    bench.train(trial, 1)

    assert isinstance(bench.recorder.fatal, Halted)


@pytest.mark.parametrize("reason", [WAITED, "the budget was spent"])
def test_an_open_replicate_outlives_the_end_of_a_search_whatever_ended_it(
    bench: Bench, reason: str
) -> None:
    first = bench.start()
    bench.train(first, 1, 2)
    bench.recorder.on_trial_complete(0, [], first)
    waiting, replicate = bench.start(), bench.record.add_replicate(0, 1)
    bench.train(waiting, 1)

    bench.recorder.close(reason)

    assert bench.status(waiting) == ("stopped", reason)
    assert bench.record.interrupted() == [replicate]
    assert bench.recorder.cut is (reason != WAITED)


def test_no_trial_is_cut_where_none_is_open_when_the_time_ends(bench: Bench) -> None:
    trial = bench.start()
    bench.train(trial, 1, 2)
    bench.recorder.on_trial_complete(0, [], trial)
    bench.recorder.close("the budget was spent")

    assert not bench.recorder.cut


def test_replicates_are_no_step_of_the_search_in_mlflow(bench: Bench) -> None:
    first = bench.start()
    bench.train(first, 1, 2)
    bench.recorder.on_trial_complete(0, [], first)
    number = bench.record.add_replicate(0, 1)
    replicate = RayTrial({"number": number})
    bench.recorder.on_trial_start(0, [], replicate)
    bench.train(replicate, 1, 2)
    bench.recorder.on_trial_complete(0, [], replicate)
    second = bench.start()
    bench.train(second, 1, 2)
    bench.recorder.on_trial_complete(0, [], second)

    assert [number for number, _, _ in bench.tracker.ends] == [0, 1, 2]
    assert bench.tracker.steps == [1, 2]


def test_a_trial_that_waits_is_told_from_one_that_runs(bench: Bench) -> None:
    trial = bench.start(epochs=9)
    bench.train(trial, 1, 2, 3)
    bench.recorder._paused.add(0)
    bench.recorder.on_trial_complete(0, [], trial)
    assert bench.record.trial(0).waits_at == 3

    bench.recorder.on_trial_start(0, [], trial)
    assert bench.record.trial(0).waits_at is None

    bench.recorder._paused.add(0)
    bench.recorder.on_trial_complete(0, [], trial)
    bench.recorder.close("the budget is spent")
    assert bench.record.trial(0).waits_at is None
    assert bench.status(trial)[0] == "stopped"
