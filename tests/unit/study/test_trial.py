"""One trial without Ray: tiny real networks on tiny made images."""

import itertools
import time
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_study import make_context as tiny_context
from tiny_study import make_data
from torch import nn

from analysis.phases import Phases
from analysis.results import Latency, ModelSize, Ratio, Timing
from search_spaces.catalogue import load_space
from search_spaces.cifar_blocks import SPACE
from search_spaces.space import Params, SearchSpace
from study.class_task import training_data
from study.confirmation import spread_of_equals, time_copies, time_idle
from study.death import UnfitWorker
from study.distillation import checkpoint
from study.distillation.answering import torch_threads
from study.distillation.teacher_recipe import TeacherRecipe
from study.seeds import run_seed
from study.student import build_student as build_seeded
from study.student import load_student, measure_beside_others, training_settings
from study.trial import StudentTrainable, StudentTrial, refusal
from study.trial_context import (
    CHECKPOINT_FILE,
    NESTED,
    TrialContext,
    TrialTask,
    trial_folder,
)
from study.trial_teacher import TeacherVariant

# Between 2.0 and 2.2 ms: the teacher's 8 ms over the ratio.
LATENCY = Latency(
    *("cpu", 1, "float32", False, 20),
    *(Timing(2.1, 2.2),) * 4,
    *(Ratio(3.8, 8 / 2.2, 4.0),) * 2,
    reference_ms=8.0,
)


def build_student(params: Params, num_classes: int, shape: tuple[int, int, int]) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(shape[2], 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, num_classes)
    )


def tiny_space() -> SearchSpace:
    return replace(SPACE, name="tiny", build_student=build_student)


@pytest.fixture
def context(tmp_path: Path) -> TrialContext:
    return make_context(tmp_path)


def make_context(folder: Path) -> TrialContext:
    generator = np.random.default_rng(0)
    data = make_data(generator, train=64, test=20, pad=1)
    outputs = generator.normal(size=(2, len(data.train), 2)).astype(np.float16)
    recipe = TeacherRecipe(depths=(1, 1, 1, 1), epochs=0)
    return tiny_context(
        folder,
        space=tiny_space(),
        data=data,
        reduced_rows={0.1: np.arange(8)},
        teacher=TeacherVariant(recipe, outputs),
        epochs=3,
        views=2,
    )


def with_answers(context: TrialContext, value: float) -> TrialContext:
    """The same, with a teacher that answers `value` to everything."""
    outputs = context.teacher.outputs
    assert outputs is not None
    teacher = replace(context.teacher, outputs=np.full_like(outputs, value))
    return replace(context, teacher=teacher)


def task(number: int = 0, known: dict[str, Any] | None = None, **overrides: Any) -> TrialTask:
    params = SPACE.complete({"batch_size": 64, **overrides})
    facts = known or {}
    return TrialTask(number, params, False, facts.get("model"), facts.get("latency"))


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Size and latency as the record has them, so that tests need not measure again."""
    first = StudentTrial(task(), make_context(tmp_path_factory.mktemp("known"))).advance()
    return {"model": first["model"], "latency": first["latency"]}


def finish(trial: StudentTrial) -> list[dict[str, Any]]:
    reports = [trial.advance()]
    while not reports[-1]["done"]:
        reports.append(trial.advance())
    return reports


def curve(reports: list[dict[str, Any]]) -> list[tuple[int, float, float]]:
    epochs = [epoch for report in reports for epoch in report.get("curve", [])]
    return [(epoch["epoch"], epoch["train_loss"], epoch["val_loss"]) for epoch in epochs]


def test_latency_is_known_before_the_first_epoch(context: TrialContext) -> None:
    report = StudentTrial(task(), context).advance()

    assert report["epoch"] == 0
    assert not report["done"]
    ratio = report["latency"]["ratio_batch_1"]["median"]
    assert report["latency_ms"] == pytest.approx(context.teacher_ms / ratio)
    assert report["model"]["params_m"] == pytest.approx((4 * 9 + 4 + 256 * 2 + 2) / 1e6)


def test_a_latency_says_what_it_is_compared_with_and_how_it_was_taken(
    context: TrialContext,
) -> None:
    latency = StudentTrial(task(), context).advance()["latency"]

    assert latency["reference_ms"] == context.teacher_ms
    assert (latency["runtime"], latency["folded"], latency["idle"]) == ("eager", True, False)
    assert latency["paced_by"] == "teacher"
    paced = replace(context, teacher_over_metronome=8.0)
    with torch_threads(1):
        assert StudentTrial(task(), paced).advance()["latency"]["paced_by"] == "metronome"
    # As the teacher of an older study was timed.
    older = replace(context, folded=False)
    assert not StudentTrial(task(), older).advance()["latency"]["folded"]


def test_a_student_that_the_runtime_cannot_run_is_infeasible_with_the_reason(
    context: TrialContext,
) -> None:
    class Undecided(torch.nn.Module):
        """Its path depends on the values of what it sees."""

        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(1, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            mean = images.mean((2, 3))
            answer: torch.Tensor = self.head(mean if float(mean.sum()) > 0 else -mean)
            return answer

    space = replace(context.space, build_student=lambda *_: Undecided())
    asked = replace(context, space=space, runtime="compiled", teacher=None)
    (report,) = finish(StudentTrial(task(), asked))

    assert "cannot be compiled" in report["infeasible"]
    assert report["infeasible"].endswith("leave --runtime at eager")


def test_a_trial_that_comes_to_another_kind_of_processor_is_not_measured_there(
    context: TrialContext,
) -> None:
    """Nor anything else of its node: it is no failure of the trial, which goes on elsewhere."""
    trial = StudentTrial(task(), replace(context, device_kind="A Processor Of 1971"))

    with pytest.raises(UnfitWorker, match=r"another processor \(.+\) than .+ Of 1971") as unfit:
        trial.advance()
    assert unfit.value.whole_node


@pytest.mark.parametrize("kind", [RuntimeError, torch.AcceleratorError])
def test_a_gpu_that_is_lost_has_its_worker_dropped_and_one_without_memory_does_not(
    context: TrialContext, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    told = ["CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be"]

    def fail(*_: object) -> None:
        raise kind(told[0])

    monkeypatch.setattr("study.trial.build_student", fail)

    with pytest.raises(UnfitWorker) as unfit:
        StudentTrial(task(), context).advance()
    assert unfit.value.reason == f"{kind.__name__}: {told[0].splitlines()[0]}"
    assert not unfit.value.whole_node
    told[0] = "CUDA error: out of memory\nCUDA kernel errors might be"
    assert "out of memory" in StudentTrial(task(), context).advance()["infeasible"]


def test_a_failure_of_the_trial_itself_is_reported(
    context: TrialContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such layer")

    monkeypatch.setattr("study.trial.build_student", fail)

    report = StudentTrial(task(), context).advance()
    assert (report["done"], report["failure"]) == (True, "RuntimeError: no such layer")


def test_a_known_latency_is_not_measured_again(
    context: TrialContext, known: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.trial.measure_beside_others", None)

    report = StudentTrial(task(known=known), context).advance()

    assert report["latency"] == known["latency"]


@pytest.mark.parametrize(
    ("limit", "words"),
    [({"max_latency_ms": 1e-6}, "latency"), ({"max_params_m": 1e-6}, "parameters")],
)
def test_what_breaks_a_constraint_is_refused_before_training(
    context: TrialContext, known: dict[str, Any], limit: dict[str, float], words: str
) -> None:
    (report,) = finish(StudentTrial(task(known=known), replace(context, **limit)))  # type: ignore[arg-type]

    assert words in report["infeasible"]
    assert report["epoch"] == 0
    assert not trial_folder(Path(context.folder), 0).exists()


@pytest.mark.parametrize(
    ("params_m", "latency_ms", "words"),
    [
        (0.404, 1.0, "0.404 M parameters, more than 0.4 M"),
        (1.0, 1.0, "1.00 M parameters, more than 0.4 M"),
        (0.4, 2.0004, "latency 2.0004 ms, more than 2 ms"),
        (0.4, 2.0, None),
    ],
)
def test_a_refusal_shows_that_the_limit_is_passed(
    context: TrialContext, params_m: float, latency_ms: float, words: str | None
) -> None:
    bounded = replace(context, max_params_m=0.4, max_latency_ms=2.0)
    assert refusal(bounded, ModelSize(params_m, 1.0, 1), latency_ms) == words


def test_each_report_is_an_epoch_and_the_last_leaves_a_student(
    context: TrialContext, known: dict[str, Any]
) -> None:
    reports = finish(StudentTrial(task(known=known), context))

    assert [report["epoch"] for report in reports] == [0, 1, 2, 3]
    student = load_student(context, 0)
    images = torch.zeros(1, 1, 8, 8)
    assert student(images).shape == (1, 2)


def test_an_interrupted_trial_goes_on_exactly_where_it_was(
    context: TrialContext, known: dict[str, Any]
) -> None:
    whole = finish(StudentTrial(task(1, known), context))
    first = StudentTrial(task(2, known), context)
    first.advance()
    first.advance()
    first.close()
    half = trial_folder(context.place, 2) / "last.pt.0af1.partial"
    half.write_bytes(b"of a writer that was killed")

    resumed = finish(StudentTrial(task(2, known), context))

    assert not half.exists()
    assert curve(resumed) == curve(whole)  # the first report repeats the epoch done before
    ours, theirs = load_student(context, 2), load_student(context, 1)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_a_trial_finished_before_its_driver_heard_is_not_trained_again(
    context: TrialContext, known: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = finish(StudentTrial(task(known=known), context))
    monkeypatch.setattr("study.distillation.training.StudentTrainer.run_epoch", None)

    (report,) = finish(StudentTrial(task(known=known), context))

    assert curve([report]) == curve(done)
    assert report["epoch"] == 3


def test_a_loss_that_is_not_a_number_fails_with_the_reason(
    context: TrialContext, known: dict[str, Any]
) -> None:
    poisoned = with_answers(context, np.nan)

    reports = finish(StudentTrial(task(known=known), poisoned))

    assert "failure" in reports[-1]
    assert "epoch 1" in reports[-1]["failure"]


def test_the_control_does_not_look_at_the_teacher(
    context: TrialContext, known: dict[str, Any]
) -> None:
    poisoned = with_answers(context, np.nan)

    reports = finish(StudentTrial(task(known=known, terms="ce"), poisoned))

    assert reports[-1]["epoch"] == 3
    assert "failure" not in reports[-1]


def test_a_reduced_train_set_is_smaller_and_keeps_its_views_and_answers(
    context: TrialContext,
) -> None:
    whole, reduced = training_data(context, 1.0), training_data(context, 0.1)

    assert len(whole.train) == len(context.data.train)
    assert whole.rows is None
    assert reduced.rows is not None
    assert reduced.rows.tolist() == list(range(8))
    assert np.array_equal(reduced.train.images, context.data.train.images[:8])


def test_a_student_that_cannot_be_built_is_a_failure_that_says_why(context: TrialContext) -> None:
    def broken(params: Params, num_classes: int, shape: tuple[int, int, int]) -> nn.Module:
        raise RuntimeError("no such layer")

    space = replace(context.space, build_student=broken)
    (report,) = finish(StudentTrial(task(), replace(context, space=space)))

    assert report["failure"] == "RuntimeError: no such layer"


def test_twins_start_from_the_same_weights(context: TrialContext) -> None:
    distilled = build_seeded(context, task().params)
    control = build_seeded(context, task(terms="ce").params)

    for mine, other in zip(distilled.parameters(), control.parameters(), strict=True):
        assert torch.equal(mine, other)


# Runs and their seeds


def weights(context: TrialContext) -> torch.Tensor:
    student = build_seeded(context, SPACE.complete({}))
    return torch.cat([value.flatten() for value in student.state_dict().values()])


@pytest.mark.parametrize("seed", [0, 7, 2**40])
def test_the_first_run_has_the_study_s_seed(seed: int) -> None:
    assert run_seed(seed, 0) == seed


def test_no_two_runs_share_a_seed_in_one_study_or_in_the_next() -> None:
    seeds = [run_seed(seed, run) for seed in range(20) for run in range(20)]

    assert len(set(seeds)) == len(seeds)
    # Not to change: a study that is continued by another version goes on with its runs.
    drawn = [run_seed(0, 1), run_seed(0, 2), run_seed(3, 1)]
    assert drawn == [673228719, 3241444873, 1645421708]


def test_the_first_run_begins_with_the_weights_that_the_study_s_seed_gives(tmp_path: Path) -> None:
    context = replace(make_context(tmp_path), seed=5)

    torch.manual_seed(5)
    student = context.space.build_student(
        SPACE.complete({}), context.data.num_classes, context.data.shape
    )

    expected = torch.cat([value.flatten() for value in student.state_dict().values()])
    assert torch.equal(weights(context), expected)
    settings = training_settings(context, SPACE.complete({}), 3)
    assert settings.seed == settings.view_seed == 5


def test_runs_of_one_number_share_their_draws_and_all_share_the_views(tmp_path: Path) -> None:
    first = make_context(tmp_path)
    again = first.of_run(1)

    assert not torch.equal(weights(first), weights(again))
    assert torch.equal(weights(again), weights(first.of_run(1)))
    distilled = training_settings(again, SPACE.complete({"terms": "ce+kl"}), 3)
    control = training_settings(again, SPACE.complete({"terms": "ce"}), 3)
    assert distilled.seed == control.seed == run_seed(first.seed, 1)
    assert distilled.view_seed == control.view_seed == first.seed


@pytest.mark.parametrize(
    ("space", "decay"), [("cifar_blocks", 5e-4), ("mnist_subclass", 0.0), ("mhist_mobilenet", 0.0)]
)
def test_weights_decay_as_the_space_says_and_not_in_the_plain_adam_of_papers(
    tmp_path: Path, space: str, decay: float
) -> None:
    params = load_space(space).complete({})

    assert training_settings(make_context(tmp_path), params, 3).weight_decay == decay


def test_a_replicate_is_trained_and_loaded_under_its_own_seed(
    tmp_path: Path, known: dict[str, Any]
) -> None:
    context = make_context(tmp_path)
    tasks = {
        number: replace(task(number, known), run=run) for number, run in ((0, 0), (1, 1), (2, 1))
    }
    curves = {number: finish(StudentTrial(each, context)) for number, each in tasks.items()}

    losses = {n: [r["curve"][0]["val_loss"] for r in told[1:]] for n, told in curves.items()}
    assert losses[0] != losses[1]
    assert losses[1] == losses[2]
    students = {
        number: torch.cat([p.flatten() for p in load_student(context, number).parameters()])
        for number in tasks
    }
    assert not torch.equal(students[0], students[1])
    assert torch.equal(students[1], students[2])


def test_a_replicate_that_was_interrupted_goes_on_under_its_seed(
    tmp_path: Path, known: dict[str, Any]
) -> None:
    context = make_context(tmp_path)
    whole = finish(StudentTrial(replace(task(1, known), run=2), context))
    begun = StudentTrial(replace(task(2, known), run=2), context)
    begun.advance()
    begun.advance()

    resumed = finish(StudentTrial(replace(task(2, known), run=2), context))

    assert resumed[-1]["curve"][0]["val_loss"] == whole[-1]["curve"][0]["val_loss"]


def test_the_phases_of_a_trial_add_up_to_the_time_its_worker_took(context: TrialContext) -> None:
    spent = Phases()
    began = time.perf_counter()
    trial = StudentTrial(task(), context, handover=1.5)
    done = False
    while not done:
        report = trial.advance()
        spent, done = spent + Phases(**report["spent"]), report["done"]
        elapsed = time.perf_counter() - began
        time.sleep(0.05)  # the driver takes its time

    # Begun after, and told before, the time was read: by no more than a busy machine takes.
    assert elapsed - 0.5 < spent.total <= elapsed + 1e-4
    assert spent.handover == 1.5
    assert spent.waiting >= 3 * 0.05
    assert min(astuple(spent)) > 0


def test_a_worker_says_how_long_it_stood_idle_between_two_trials(
    context: TrialContext, known: dict[str, Any]
) -> None:
    class Worker(StudentTrainable):
        def setup(self, config: dict[str, Any], _: object = None) -> None:
            super().setup(config, context)

    worker = Worker(task(0, known).to_config())
    (told,) = worker.step()[NESTED]
    first = told["spent"]["handover"]
    time.sleep(0.1)
    worker.reset_config(task(1, known).to_config())

    (told,) = worker.step()[NESTED]
    again = told["spent"]

    assert first == 0.0
    assert again["handover"] >= 0.1
    worker.cleanup()


def test_a_trial_of_all_views_reads_the_whole_table(
    context: TrialContext, known: dict[str, Any]
) -> None:
    teacher = context.teacher
    assert teacher is not None
    assert teacher.outputs is not None
    # Every crop of 1 pixel's padding, without flips; in all but the centre one NaN.
    centre = np.full((9, *teacher.outputs.shape[1:]), np.nan, dtype=np.float16)
    centre[4] = 0.0
    everywhere = np.zeros_like(centre)

    def last_of(number: int, outputs: np.ndarray[Any, Any]) -> dict[str, Any]:
        whole = replace(context, views=None, teacher=replace(teacher, outputs=outputs))
        return finish(StudentTrial(task(number, known, terms="weighted"), whole))[-1]

    assert "failure" not in last_of(7, everywhere)
    assert "the loss is nan in epoch 1" in last_of(8, centre)["failure"]
    assert "2 views are no whole table: there are 9" in last_of(9, teacher.outputs)["failure"]


def test_where_another_worker_may_go_on_an_epoch_is_on_the_disk_before_it_is_reported(
    context: TrialContext, known: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    save = checkpoint.save

    def slow(*positional: Any, **named: Any) -> None:
        time.sleep(0.2)
        save(*positional, **named)

    monkeypatch.setattr(checkpoint, "save", slow)
    trial = StudentTrial(task(known=known), replace(context, every_epoch=True))
    trial.advance()
    trial.advance()

    state = checkpoint.load(trial_folder(Path(context.folder), 0) / CHECKPOINT_FILE)
    assert state["trainer"]["epochs_done"] == 1


def test_no_latency_takes_longer_than_the_plan_gives_it(
    context: TrialContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[float, float | None]] = []

    def compare(*_: Any, seconds: float, at_most: float | None, **__: Any) -> Any:
        given.append((seconds, at_most))
        raise Interrupted

    class Interrupted(Exception):
        pass

    monkeypatch.setattr("study.distillation.measurement.compare_latency", compare)
    student = build_seeded(context, task().params)
    for most in (6.0, 0.4):
        allowed = replace(context, timing_seconds=most)
        with pytest.raises(Interrupted):
            measure_beside_others(allowed, student)
        with pytest.raises(Interrupted):
            time_idle(allowed, student)
    assert given == [(0.5, 1.6), (1.6, 6.0), (0.4, 0.4), (0.4, 0.4)]


def test_near_the_limit_a_latency_is_taken_longer_before_a_student_is_refused(
    context: TrialContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float | None] = []

    def measured(*_: Any, at_most: float | None, **__: Any) -> tuple[None, Latency]:
        given.append(at_most)
        return None, LATENCY

    monkeypatch.setattr("study.student.measure", measured)
    student = build_seeded(context, task().params)
    for limit, taken in ((None, [1.6]), (3.0, [1.6]), (2.1, [1.6, 6.0]), (1.0, [1.6])):
        given.clear()
        measure_beside_others(replace(context, max_latency_ms=limit), student)
        assert given == taken


def test_copies_of_a_finished_student_are_timed_as_if_they_were_students(
    context: TrialContext, known: dict[str, Any]
) -> None:
    finish(StudentTrial(task(known=known), context))

    test = time_copies(context, 0, "tiny")

    assert test.architecture == "tiny"
    assert 5 <= len(test.ratios) <= 10
    assert (len(test.ratios) == 5) == (spread_of_equals(test.ratios[:5])[1] <= 0.05)
    assert test.spread == pytest.approx(spread_of_equals(test.ratios)[1])


def test_a_copy_is_timed_on_while_its_ratio_has_not_settled(
    context: TrialContext, known: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(StudentTrial(task(known=known), context))
    given: list[tuple[float, float, float | None]] = []

    def compared(
        *_: Any, seconds: float, at_most: float, teacher_over_metronome: float | None
    ) -> Ratio:
        given.append((seconds, at_most, teacher_over_metronome))
        return LATENCY.ratio_batch_1

    monkeypatch.setattr("study.distillation.measurement.compare_small_batch", compared)
    time_copies(replace(context, timing_seconds=6.0, teacher_over_metronome=8.0), 0, "tiny")
    assert given == [(pytest.approx(0.4), pytest.approx(2.0), 8.0)] * 5


@pytest.mark.parametrize(("within", "at_most"), [(5.0, 1.0), (1.0, 0.4)])
def test_copies_take_no_more_than_their_share_of_a_short_study(
    context: TrialContext,
    known: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    within: float,
    at_most: float,
) -> None:
    finish(StudentTrial(task(known=known), context))
    given: list[float] = []
    ratios = itertools.cycle((1.0, 1.5))  # far from enough alike

    def compared(*_: Any, seconds: float, at_most: float, **__: Any) -> Ratio:
        given.append(at_most)
        time.sleep(within / 5)
        return replace(LATENCY.ratio_batch_1, median=next(ratios))

    monkeypatch.setattr("study.distillation.measurement.compare_small_batch", compared)
    time_copies(replace(context, timing_seconds=6.0), 0, "tiny", within)
    assert given == [pytest.approx(at_most)] * 5
