"""Trials whose student can be left early: one training, several students in the record."""

import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_study import make_data

from analysis.results import (
    EpochResult,
    Latency,
    ModelSize,
    ReferencePoint,
    TrialResult,
    trained_alone,
)
from search_spaces.cifar_self import SPACE
from search_spaces.networks.multi_exit import EXITS
from search_spaces.space import SpaceError, When, configuration_key
from study.arguments import parser
from study.constraints import Constraints
from study.distillation import checkpoint
from study.distillation.evaluation import evaluate
from study.distillation.teacher_recipe import TeacherRecipe
from study.plan import StudyPlan
from study.progress import Progress
from study.proposal import distributions
from study.record import StudyRecord
from study.recorder import Limits, Recorder
from study.resolving import resolve
from study.retention import students_to_keep
from study.scheduler import Stop
from study.searcher import TrialQueue
from study.seed_points import SeedPoint
from study.student import device_of, load_student
from study.tracking.facts import hypervolume_curve
from study.tracking.tracker import Tracker
from study.trial import StudentTrial
from study.trial_context import STUDENT_FILE, TrialContext, TrialTask, trial_folder
from study.trial_exits import exit_file
from study.trial_teacher import TeacherVariant

SHAPE = (8, 8, 1)
OTHERS = [1, 2, 3, "ensemble"]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_context(folder: Path, **changes: Any) -> TrialContext:
    generator = np.random.default_rng(0)
    data = make_data(generator, train=64, test=20, pad=1)
    outputs = generator.normal(size=(2, len(data.train), 2)).astype(np.float16)
    context = TrialContext(
        space=SPACE,
        data=data,
        reduced_rows={},
        teacher=TeacherVariant(TeacherRecipe(depths=(1, 1, 1, 1), epochs=0), outputs),
        teacher_ms=10.0,
        folder=str(folder),
        epochs=3,
        views=2,
        seed=0,
        precision="float32",
        threads=1,
        on_gpu=False,
    )
    return replace(context, **changes)


def params(**overrides: Any) -> dict[str, Any]:
    return SPACE.complete({"width": 16, "stem_stride": 1, **overrides})


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Size and latency of every exit as the record has them, measured once."""
    context = make_context(tmp_path_factory.mktemp("known"), epochs=1)
    reports = finish(StudentTrial(TrialTask(0, params(), False), context))
    found = {each["architecture"]: each for each in reports[-1]["exits"]}
    found[SPACE.describe(params())] = reports[0]
    return {name: {key: body[key] for key in ("model", "latency")} for name, body in found.items()}


def task(number: int, known: dict[str, dict[str, Any]], **overrides: Any) -> TrialTask:
    asked = params(**overrides)
    own = known[SPACE.describe(asked)]
    return TrialTask(number, asked, False, own["model"], own["latency"], known)


def finish(trial: StudentTrial) -> list[dict[str, Any]]:
    reports = [trial.advance()]
    while not reports[-1]["done"]:
        reports.append(trial.advance())
    assert "failure" not in reports[-1], reports[-1]
    return reports


def without_seconds(body: Any) -> Any:
    """The same, but for times of the clock."""
    if isinstance(body, dict):
        return {key: without_seconds(value) for key, value in body.items() if key != "seconds"}
    return [without_seconds(item) for item in body] if isinstance(body, list) else body


# The trial, on its worker


def test_the_last_report_tells_of_every_other_exit_with_its_whole_curve(
    tmp_path: Path, known: dict[str, Any]
) -> None:
    context = make_context(tmp_path)
    reports = finish(StudentTrial(task(0, known), context))

    assert all("exits" not in report for report in reports[:-1])
    assert [each["exit"] for each in reports[-1]["exits"]] == OTHERS
    own = [epoch for report in reports for epoch in report["curve"]]
    for each in reports[-1]["exits"]:
        assert [epoch["epoch"] for epoch in each["curve"]] == [1, 2, 3]
        assert [e["train_loss"] for e in each["curve"]] == [e["train_loss"] for e in own]
        assert each["architecture"] == SPACE.describe(params(exit=each["exit"]))
    sizes = [each["model"]["flops_m"] for each in reports[-1]["exits"]]
    assert sizes == sorted(sizes)


def test_a_trial_judged_by_another_exit_is_the_same_training(
    tmp_path: Path, known: dict[str, Any]
) -> None:
    context = make_context(tmp_path)
    deepest = finish(StudentTrial(task(0, known), context))[-1]
    (first,) = [each for each in deepest["exits"] if each["exit"] == 1]
    judged = finish(StudentTrial(task(1, known, exit=1), context))

    curve = [epoch for report in judged for epoch in report["curve"]]
    assert without_seconds(curve) == without_seconds(first["curve"])
    ours = checkpoint.load(exit_file(trial_folder(tmp_path, 0), 1))
    theirs = checkpoint.load(trial_folder(tmp_path, 1) / STUDENT_FILE)
    assert ours["params"] == theirs["params"]
    assert all((ours["weights"][name] == value).all() for name, value in theirs["weights"].items())


def test_an_interrupted_trial_reports_the_same_exits(tmp_path: Path, known: dict[str, Any]) -> None:
    context = make_context(tmp_path)
    whole = finish(StudentTrial(task(0, known), context))[-1]
    begun = StudentTrial(task(1, known), context)
    begun.advance()
    begun.advance()
    begun.close()
    resumed = finish(StudentTrial(task(1, known), context))[-1]
    replayed = finish(StudentTrial(task(1, known), context))

    assert without_seconds(resumed["exits"]) == without_seconds(whole["exits"])
    assert len(replayed) == 1
    assert replayed[0]["exits"] == resumed["exits"]


def test_what_is_kept_is_each_exit_alone(tmp_path: Path, known: dict[str, Any]) -> None:
    context = make_context(tmp_path)
    reports = finish(StudentTrial(task(0, known), context))
    folder = trial_folder(tmp_path, 0)
    own = load_student(context, 0)
    assert sum(p.numel() for p in own.parameters()) == pytest.approx(
        reports[0]["model"]["params_m"] * 1e6
    )
    data = context.data
    for number, each in enumerate(reports[-1]["exits"], start=1):
        trial_folder(tmp_path, number).mkdir()
        exit_file(folder, each["exit"]).rename(trial_folder(tmp_path, number) / STUDENT_FILE)
        student = load_student(context, number)
        assert sum(p.numel() for p in student.parameters()) == pytest.approx(
            each["model"]["params_m"] * 1e6
        )
        loss, score = evaluate(student, data.validation, data.mean, data.std, device_of(context))
        assert score == pytest.approx(each["curve"][-1]["val_score"])
        assert loss == pytest.approx(each["curve"][-1]["val_loss"], rel=1e-5)


def test_an_exit_that_breaks_a_constraint_is_told_so_and_not_kept(
    tmp_path: Path, known: dict[str, Any]
) -> None:
    most = known[SPACE.describe(params())]["model"]["params_m"]
    context = make_context(tmp_path, epochs=1, max_params_m=most)
    told = {
        each["exit"]: each["infeasible"]
        for each in finish(StudentTrial(task(0, known), context))[-1]["exits"]
    }

    assert "parameters, more than" in told.pop("ensemble")
    assert set(told.values()) == {None}
    assert not exit_file(trial_folder(tmp_path, 0), "ensemble").exists()


def test_no_exit_is_measured_that_the_record_knows(
    tmp_path: Path, known: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.trial_exits.measure_beside_others", None)
    context = make_context(tmp_path, epochs=1)

    assert len(finish(StudentTrial(task(0, known), context))[-1]["exits"]) == 4


# The record, at the driver


@dataclass
class RayTrial:
    """What the recorder reads of a trial of Ray's."""

    config: dict[str, Any]


@dataclass
class Heard(Tracker):
    """Keeps what the tracker is told."""

    replayed: list[str] = field(default_factory=list)

    def trial_replayed(self, trial: TrialResult) -> None:
        self.replayed.append(trial.architecture)


@dataclass
class Driver:
    """One run of a driver over a record."""

    record: StudyRecord
    seeds: tuple[SeedPoint, ...] = ()
    trials: int = 2
    stops: dict[int, Stop] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tracker, self.shown = Heard(), io.StringIO()
        self.queue = TrialQueue(
            self.record, SPACE, make_plan(self.trials), self.seeds, lambda: False
        )
        self.recorder = Recorder(
            self.record, self.tracker, Progress(self.shown), self.stops, self.queue, Limits()
        )

    def run(self, reports: list[dict[str, Any]], number: int = 0) -> RayTrial:
        trial = RayTrial({"number": number})
        self.recorder.on_trial_start(0, [], trial)
        for report in reports:
            self.recorder.on_trial_result(0, [], trial, report)
        assert self.recorder.fatal is None
        return trial

    def end(self, trial: RayTrial) -> None:
        self.recorder.on_trial_complete(0, [], trial)
        assert self.recorder.fatal is None


def make_plan(trials: int) -> StudyPlan:
    asked = ["--space", "cifar_self", "--data", "digits", "--trials", str(trials)]
    return resolve(parser().parse_args(asked))[0]


def opened(folder: Path) -> StudyRecord:
    record = StudyRecord(folder, "study", None)
    record.set_attribute("reference_point", ReferencePoint(50.0, 10.0, 100.0).to_json())
    return record


def add(record: StudyRecord, **overrides: Any) -> int:
    asked = params(**overrides)
    return record.add_trial(
        asked,
        distributions(SPACE, asked),
        source="sampler",
        label=None,
        architecture=SPACE.describe(asked),
        epochs=3,
    )


@pytest.fixture(scope="module")
def trained(
    known: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[dict[str, Any]], Path]:
    """What the worker of a finished trial reported, and its folder."""
    folder = tmp_path_factory.mktemp("trained")
    return finish(StudentTrial(task(0, known), make_context(folder))), folder


@pytest.fixture
def finished(
    trained: tuple[list[dict[str, Any]], Path], tmp_path: Path
) -> tuple[list[dict[str, Any]], StudyRecord]:
    """Those reports, and a record in a folder where the worker has left its files."""
    reports, folder = trained
    record = opened(tmp_path)
    shutil.copytree(folder / "checkpoints", tmp_path / "checkpoints")
    add(record)
    return reports, record


def essence(record: StudyRecord) -> list[Any]:
    return [
        (trial.source, trial.trained_with, trial.architecture, trial.status, trial.val_score)
        for trial in record.trials()
    ]


def test_exits_join_the_record_as_finished_trials(finished: Any) -> None:
    reports, record = finished
    driver = Driver(record)
    driver.end(driver.run(reports))

    main, *others = record.trials()
    assert (main.status, main.source, main.trained_with) == ("complete", "sampler", None)
    assert [trial.params["exit"] for trial in others] == OTHERS
    for trial, told in zip(others, reports[-1]["exits"], strict=True):
        assert (trial.source, trial.trained_with, trial.status) == ("exit", 0, "complete")
        assert trial.params == {**main.params, "exit": trial.params["exit"]}
        assert [epoch.to_json() for epoch in trial.curve] == told["curve"]
        assert trial.val_score == trial.curve[-1].val_score
        assert trial.model == ModelSize.from_json(told["model"])
        assert trial.latency_ms == pytest.approx(
            Latency.from_json(told["latency"]).search_latency_ms(10.0)
        )
        frozen = record.frozen_trials()[trial.number]
        assert frozen.values == [trial.val_score, trial.latency_ms]
    assert driver.tracker.replayed == [trial.architecture for trial in others]


def test_exits_of_a_replicate_are_further_runs_of_the_exits_that_were_there(finished: Any) -> None:
    reports, record = finished
    driver = Driver(record)
    driver.end(driver.run(reports))
    again = record.add_replicate(0, 1)
    driver.end(driver.run(reports, again))

    first, second = record.trials()[:5], record.trials()[5:]
    assert [trial.replicate_of for trial in second] == [trial.number for trial in first]
    assert all((trial.run, trial.source) == (1, "replicate") for trial in second)
    assert [trial.params for trial in second] == [trial.params for trial in first]
    assert [trial.trained_with for trial in second] == [None, *[again] * 4]
    assert all(trial.status == "complete" for trial in second)


def test_each_exit_on_the_front_keeps_its_student_and_others_do_not(finished: Any) -> None:
    reports, record = finished
    driver = Driver(record)
    driver.end(driver.run(reports))

    kept = {path.parent.name for path in record.folder.glob(f"checkpoints/*/{STUDENT_FILE}")}
    assert kept == {f"t{number:04d}" for number in students_to_keep(record.trials())}
    assert list(record.folder.glob("checkpoints/*/exit-*")) == []
    context = make_context(record.folder)
    for name in kept:
        trial = record.trials()[int(name[1:])]
        student = load_student(context, trial.number)
        assert trial.model is not None
        assert sum(p.numel() for p in student.parameters()) == pytest.approx(
            trial.model.params_m * 1e6
        )


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the driver's runs after it."""


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("point", ["record", "file"])
def test_a_driver_killed_between_exits_leaves_none_out_and_none_double(
    finished: Any, monkeypatch: pytest.MonkeyPatch, after: int, point: str
) -> None:
    reports, record = finished
    (record.folder / "whole").mkdir()
    whole = opened(record.folder / "whole")
    add(whole)
    undisturbed = Driver(whole)
    undisturbed.end(undisturbed.run(reports))
    calls = 0

    def dying(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            if calls == after:
                raise Killed
            calls += 1
            return original(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        owner, name = (StudyRecord, "add_exit") if point == "record" else (Path, "replace")
        patch.setattr(owner, name, dying(getattr(owner, name)))
        if after < 4:
            with pytest.raises(Killed):
                Driver(record).run(reports)
        else:  # killed before the trial itself has ended
            Driver(record).run(reports)
    reopened = opened(record.folder)
    assert reopened.interrupted() == [0]

    again = Driver(reopened)
    task = again.queue.next_task()
    assert task is not None
    assert task.number == 0
    replayed = finish(StudentTrial(task, make_context(record.folder)))
    assert len(replayed) == 1  # nothing is trained again
    again.end(again.run(replayed))

    assert essence(reopened) == essence(whole)
    kept = {path.parent.name for path in record.folder.glob(f"checkpoints/*/{STUDENT_FILE}")}
    assert kept == {f"t{number:04d}" for number in students_to_keep(reopened.trials())}


def test_a_trial_with_all_its_epochs_has_all_its_exits(finished: Any) -> None:
    """So one that is closed for good, its worker never heard again, lacks none."""
    reports, record = finished
    order: list[str] = []
    epoch, add_exit = record.epoch, record.add_exit
    record.epoch = lambda number, each: (order.append(f"epoch {each.epoch}"), epoch(number, each))
    record.add_exit = lambda *args, **kw: (order.append("exit"), add_exit(*args, **kw))[1]
    Driver(record).run(reports)

    assert order == ["epoch 1", "epoch 2", *["exit"] * 4, "epoch 3"]


def test_a_stopped_trial_has_no_exits(finished: Any) -> None:
    reports, record = finished
    driver = Driver(record)
    trial = driver.run(reports[:2])
    driver.stops[0] = Stop(1, (3,), 4)
    driver.end(trial)

    assert [trial.status for trial in record.trials()] == ["stopped"]


def test_exits_cost_no_trial_no_training_and_no_device_time(finished: Any) -> None:
    reports, record = finished
    driver = Driver(record, trials=2)
    driver.end(driver.run(reports))

    assert driver.recorder._ended == {"complete": 1}
    assert driver.recorder.device_seconds == pytest.approx(
        sum(trial.usage.device_seconds for trial in record.trials()), abs=1e-2
    )
    assert {trial.usage.device_seconds for trial in record.trials()[1:]} == {0.0}
    # Of as many as the view was told of, which is none here.
    assert "[1/0] t0000" in driver.shown.getvalue()
    reopened = Driver(opened(record.folder), trials=2)
    assert reopened.recorder._ended == {"complete": 1}
    second = reopened.queue.next_task()
    assert second is not None
    assert reopened.queue.next_task() is None  # two trials were asked for
    assert len(trained_alone(reopened.record.trials())) == 2


def test_a_configuration_at_another_exit_counts_as_tried(finished: Any) -> None:
    reports, record = finished
    seeds = tuple(SeedPoint(f"exit {e}", "preset", params(exit=e)) for e in EXITS)
    while_running = Driver(record, seeds, trials=9).queue.next_task()  # the open trial
    assert while_running is not None
    driver = Driver(record, seeds, trials=9)
    driver.queue._interrupted.clear()
    proposed = driver.queue.next_task()
    assert proposed is not None
    assert {**proposed.params, "exit": 0} != {**params(), "exit": 0}

    driver.end(driver.run(reports))
    later = Driver(opened(record.folder), seeds, trials=9)
    later.queue._interrupted.clear()
    another = later.queue.next_task()
    assert another is not None
    tried = {configuration_key(params(exit=leave_at)) for leave_at in EXITS}
    assert configuration_key(another.params) not in tried


def test_an_exit_that_breaks_a_constraint_is_infeasible(finished: Any) -> None:
    reports, record = finished
    last = json.loads(json.dumps(reports[-1]))
    last["exits"][3]["infeasible"] = "0.40 M parameters, more than 0.39 M"
    driver = Driver(record)
    driver.end(driver.run([*reports[:-1], last]))

    ensemble = record.trials()[4]
    assert (ensemble.status, ensemble.reason) == ("infeasible", last["exits"][3]["infeasible"])
    assert record.frozen_trials()[4].values is None


def test_an_exit_that_scores_less_than_the_least_is_infeasible(finished: Any) -> None:
    reports, record = finished
    exits = [each["curve"][-1]["val_score"] for each in reports[-1]["exits"]]
    least = sorted(exits)[1]
    driver = Driver(record)
    driver.recorder._limits = Limits(constraints=Constraints(min_score=least))
    driver.end(driver.run(reports))

    poor = [trial for trial in record.trials()[1:] if (trial.val_score or 0.0) < least]
    assert poor
    for trial in poor:
        assert trial.status == "infeasible"
        assert "less than" in (trial.reason or "")
        assert record.frozen_trials()[trial.number].constraints["score"] > 0


def test_an_exit_of_a_further_run_that_scores_less_than_the_least_is_complete(
    finished: Any,
) -> None:
    reports, record = finished
    Driver(record).run(reports)
    again = record.add_replicate(0, 1)
    last = json.loads(json.dumps(reports[-1]))
    last["exits"][3]["infeasible"] = "0.40 M parameters, more than 0.39 M"
    driver = Driver(record)
    driver.recorder._limits = Limits(constraints=Constraints(min_score=99.9))
    scores = [each["curve"][-1]["val_score"] for each in last["exits"]]
    assert min(scores) < 99.9
    driver.end(driver.run([*reports[:-1], last], again))

    *others, ensemble = record.trials()[6:]
    for trial, score in zip(others, scores[:3], strict=True):
        assert trial.status == "complete"
        assert ("less than" in (trial.reason or "")) == (score < 99.9)
    # A limit that is known before training holds for all runs alike.
    assert (ensemble.status, ensemble.reason) == ("infeasible", last["exits"][3]["infeasible"])


def test_the_hypervolume_told_live_is_that_of_the_record(finished: Any) -> None:
    reports, record = finished
    driver = Driver(record)
    driver.end(driver.run(reports))

    (point,) = hypervolume_curve(record.trials(), ReferencePoint(50.0, 10.0, 100.0))
    assert point.trials == 1
    assert point.hypervolume == pytest.approx(
        record.hypervolume(driver.recorder._contenders.trials)
    )


def test_with_a_third_objective_exits_are_told_to_the_sampler_whole(tmp_path: Path) -> None:
    record = StudyRecord(tmp_path, "study", None, "params_m")
    record.set_attribute("reference_point", ReferencePoint(50.0, 10.0, 100.0).to_json())
    number = add(record)
    timing = {"median": 2.0, "p95": 2.5}
    ratio = {"median": 2.0, "low": 1.9, "high": 2.1}
    latency = Latency.from_json(
        {"device": "cpu", "threads": 1, "precision": "float32", "idle": False, "repeats": 20}
        | {f"{who}batch_{n}_ms": timing for who in ("", "teacher_") for n in (1, 64)}
        | {f"ratio_batch_{n}": ratio for n in (1, 64)}
    )
    added = record.add_exit(
        number,
        2,
        architecture="a, exit 2",
        model=ModelSize(0.5, 2.0, 3),
        latency=latency,
        curve=[EpochResult(1, 1.0, 1.0, 80.0, 0.1, 3.0)],
    )

    assert record.frozen_trials()[added].values == [80.0, 5.0, 0.5]


# The space


def test_siblings_are_the_other_exits_that_may_be_drawn() -> None:
    assert [each["exit"] for each in SPACE.siblings(params())] == OTHERS
    held = SPACE.with_fixed({"exit": 2})
    assert held.siblings(held.complete({})) == ()


def test_a_parameter_cannot_depend_on_the_exit() -> None:
    first, *rest = SPACE.parameters
    names = [parameter.name for parameter in rest]
    moved = replace(rest[names.index("learning_rate")], when=When("exit", (4,)))
    parameters = tuple(moved if each.name == "learning_rate" else each for each in rest)
    with pytest.raises(SpaceError, match="learning_rate depends on exit, whose values share"):
        replace(SPACE, parameters=(first, *parameters))
