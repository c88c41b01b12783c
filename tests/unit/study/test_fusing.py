"""Runs of one configuration trained as one by the worker of the first: tiny real trainings."""

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_study import make_context as tiny_context
from tiny_study import make_data
from torch import nn

from analysis.results import Latency, ModelSize, Ratio, Timing
from search_spaces.cifar_blocks import SPACE
from search_spaces.space import Params, SearchSpace
from study import fusing
from study.death import UnfitWorker
from study.distillation import checkpoint
from study.distillation.fused import FusedTrainer
from study.distillation.stepping import Diverged
from study.distillation.teacher_recipe import TeacherRecipe
from study.student import load_student
from study.trial import StudentTrial
from study.trial_context import CHECKPOINT_FILE, STUDENT_FILE, TrialContext, TrialTask, trial_folder
from study.trial_teacher import TeacherVariant

EPOCHS = 3
KNOWN = {
    "model": ModelSize(0.001, 0.01, 2000).to_json(),
    "latency": Latency(
        *("cpu", 1, "float32", False, 20), *(Timing(2.0, 2.1),) * 4, *(Ratio(4.0, 3.9, 4.1),) * 2
    ).to_json(),
}


def build_student(params: Params, num_classes: int, shape: tuple[int, int, int]) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(shape[2], 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()),
        *(nn.Dropout(0.2), nn.Linear(256, num_classes)),
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
        teacher=TeacherVariant(recipe, outputs),
        epochs=EPOCHS,
        views=2,
        fuse="always",
    )


def task(
    number: int, run: int, partners: tuple[tuple[int, int], ...] = (), **asked: Any
) -> TrialTask:
    params = SPACE.complete({"batch_size": 64, "learning_rate": 0.05, **asked})
    made = TrialTask(number, params, True, KNOWN["model"], KNOWN["latency"], run=run)
    return replace(made, partners=partners)


def finish(trial: StudentTrial) -> list[dict[str, Any]]:
    reports = [trial.advance()]
    while not reports[-1]["done"]:
        reports.append(trial.advance())
    trial.close()
    return reports


def scores(reports: list[dict[str, Any]]) -> list[tuple[int, float, float]]:
    epochs = [epoch for report in reports for epoch in report.get("curve", [])]
    return [(epoch["epoch"], epoch["train_loss"], epoch["val_loss"]) for epoch in epochs]


def weights(context: TrialContext, number: int) -> dict[str, torch.Tensor]:
    return load_student(context, number).state_dict()


def assert_alike(one: TrialContext, number: int, other: TrialContext, same: int) -> None:
    theirs = weights(other, same)
    for name, value in weights(one, number).items():
        torch.testing.assert_close(value, theirs[name], rtol=2e-3, atol=2e-4)


def test_partners_find_themselves_trained_as_they_would_be_alone(
    context: TrialContext, tmp_path: Path
) -> None:
    leader = finish(StudentTrial(task(5, 1, ((6, 2), (7, 3))), context))
    assert leader[0]["together"] == {"runs": 3, "told": "3 runs are trained as one"}
    assert [report["done"] for report in leader] == [False, False, False, True]

    alone = make_context(tmp_path / "alone")
    for number, run in ((5, 1), (6, 2), (7, 3)):
        expected = finish(StudentTrial(task(number, run), alone))
        found = leader if number == 5 else finish(StudentTrial(task(number, run), context))
        if number != 5:
            assert len(found) == 1  # nothing was left to train
        assert scores(found) == [
            (epoch, pytest.approx(train, rel=1e-3), pytest.approx(val, rel=1e-3))
            for epoch, train, val in scores(expected)
        ]
        assert_alike(context, number, alone, number)


def test_a_students_file_holds_its_own_weights_and_no_others(context: TrialContext) -> None:
    finish(StudentTrial(task(5, 1, ((6, 2), (7, 3))), context))

    kept = (trial_folder(context.place, 5) / STUDENT_FILE).stat().st_size
    finish(StudentTrial(task(6, 2), context))
    assert (trial_folder(context.place, 6) / STUDENT_FILE).stat().st_size == pytest.approx(
        kept, rel=0.02
    )


def test_whoever_is_left_by_a_dead_worker_goes_on_alone(
    context: TrialContext, tmp_path: Path
) -> None:
    dying = StudentTrial(task(5, 1, ((6, 2),)), context)
    for _ in range(2):  # prepared, and one epoch
        dying.advance()
    dying.close()

    alone = make_context(tmp_path / "alone")
    for number, run in ((5, 1), (6, 2)):
        reports = finish(StudentTrial(task(number, run), context))
        assert [len(report["curve"]) for report in reports] == [1, 1, 1]
        finish(StudentTrial(task(number, run), alone))
        assert_alike(context, number, alone, number)


def test_what_cannot_be_fused_is_trained_one_by_one_and_says_why(context: TrialContext) -> None:
    unlike = replace(context.space, build_student=lambda *_: _WithChannelDropout())
    context = replace(context, space=unlike)
    reports = finish(StudentTrial(task(5, 1, ((6, 2),)), context))

    told = reports[0]["together"]
    assert told["runs"] == 1
    assert told["told"].startswith("its runs are trained one by one: ")
    assert "Dropout2d" in told["told"]
    assert len(scores(reports)) == EPOCHS
    assert not (trial_folder(context.place, 6) / CHECKPOINT_FILE).exists()


class _WithChannelDropout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Dropout2d(0.1), nn.Flatten())
        self.head = nn.Linear(256, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        answers: torch.Tensor = self.head(self.body(images))
        return answers


@pytest.mark.parametrize(("speedup", "runs"), [(1.05, 1), (1.4, 2)])
def test_a_probe_decides(
    context: TrialContext, monkeypatch: pytest.MonkeyPatch, speedup: float, runs: int
) -> None:
    monkeypatch.setattr("study.distillation.fused.speedup", lambda *asked: speedup)
    context = replace(context, fuse="auto")
    report = StudentTrial(task(5, 1, ((6, 2),)), context).advance()

    assert report["together"]["runs"] == runs
    assert f"{speedup:g} times as fast"[:3] in report["together"]["told"]


def test_a_real_probe_tells_how_much_faster(
    context: TrialContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fusing, "WORTH_IT", 0.0)
    report = StudentTrial(task(5, 1, ((6, 2),)), replace(context, fuse="auto")).advance()

    told = report["together"]["told"]
    assert report["together"]["runs"] == 2
    assert 0 < float(told.removeprefix("2 runs are trained as one, ").split()[0]) < 100


@pytest.mark.parametrize("where", ["speedup", "FusedTrainer"])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Diverged("the loss is nan in epoch 1"), "Diverged: the loss is nan in epoch 1"),
        (RuntimeError("Unable to find an engine to execute"), "RuntimeError: Unable to find an"),
        (torch.OutOfMemoryError("CUDA out of memory"), "more memory than there is"),
    ],
    ids=["diverged", "no kernel", "memory"],
)
def test_whatever_goes_wrong_before_the_first_step_is_a_reason_not_to_fuse(
    context: TrialContext,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    error: Exception,
    told: str,
) -> None:
    def fail(*args: Any) -> None:
        raise error

    monkeypatch.setattr(f"study.distillation.fused.{where}", fail)
    context = replace(context, fuse="auto" if where == "speedup" else "always")
    reports = finish(StudentTrial(task(5, 1, ((6, 2),)), context))

    assert reports[0]["together"]["runs"] == 1
    assert told in reports[0]["together"]["told"]
    assert len(scores(reports)) == EPOCHS


def test_a_probe_that_diverges_measures_nothing(context: TrialContext) -> None:
    asked = task(5, 1, ((6, 2),))
    asked = replace(asked, params={**asked.params, "learning_rate": 1e30})
    report = StudentTrial(asked, replace(context, fuse="auto")).advance()

    assert report["together"]["runs"] == 1
    assert "Diverged" in report["together"]["told"]


def test_an_error_that_fused_steps_have_is_not_the_trials(
    context: TrialContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = StudentTrial(task(5, 1, ((6, 2),)), context)
    trial.advance()

    def fail(self: FusedTrainer) -> None:
        raise RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED")

    monkeypatch.setattr(FusedTrainer, "run_epoch", fail)
    told = trial.advance()
    assert (told["done"], told["together"]["runs"]) == (False, 1)
    assert "CUDNN_STATUS_NOT_SUPPORTED" in told["together"]["told"]
    assert len(scores(finish(trial))) == EPOCHS


def test_a_folder_that_does_not_answer_is_no_reason_to_train_runs_one_by_one(
    context: TrialContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hiccup(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    trial = StudentTrial(task(5, 1, ((6, 2),)), context)
    trial.advance()
    monkeypatch.setattr("os.fsync", hiccup)
    trial.advance()  # writes beside what comes next

    with pytest.raises(UnfitWorker, match="its files are out of reach"):
        trial.advance()


def test_too_little_memory_for_all_is_none_of_the_students_fault(
    context: TrialContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = StudentTrial(task(5, 1, ((6, 2),)), context)
    trial.advance()
    trial.advance()

    def too_large(self: FusedTrainer) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")

    monkeypatch.setattr(FusedTrainer, "run_epoch", too_large)
    told = trial.advance()
    assert (told["done"], told["together"]["runs"]) == (False, 1)
    assert "more memory than there is" in told["together"]["told"]
    assert "infeasible" not in told

    reports = finish(trial)
    assert [len(report["curve"]) for report in reports] == [1, 1, 1]
    alone = make_context(tmp_path / "alone")
    finish(StudentTrial(task(5, 1), alone))
    assert_alike(context, 5, alone, 5)


def test_a_partner_that_diverges_leaves_the_others_as_they_are(
    context: TrialContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_epoch = FusedTrainer.run_epoch

    def second_diverges(self: FusedTrainer) -> list[Any]:
        epochs = run_epoch(self)
        if self.epochs_done == 2:
            with torch.no_grad():
                next(self.students[1].parameters()).fill_(float("nan"))
        return epochs

    monkeypatch.setattr(FusedTrainer, "run_epoch", second_diverges)
    reports = finish(StudentTrial(task(5, 1, ((6, 2),)), context))
    assert len(scores(reports)) == EPOCHS

    state = checkpoint.load(trial_folder(context.place, 6) / CHECKPOINT_FILE)
    assert state["trainer"]["epochs_done"] == 2


def test_the_trials_own_divergence_is_its_failure(context: TrialContext) -> None:
    asked = task(5, 1, ((6, 2),))
    asked = replace(asked, params={**asked.params, "learning_rate": 1e30})
    reports = finish(StudentTrial(asked, context))

    assert reports[0]["together"]["runs"] == 2
    assert "loss is" in reports[-1]["failure"]


def test_a_trial_that_was_handed_out_by_itself_probes_nothing(
    context: TrialContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.distillation.fused.speedup", lambda *asked: pytest.fail("probed"))
    report = StudentTrial(task(5, 1), replace(context, fuse="auto")).advance()

    assert "together" not in report


def test_every_partners_file_is_waited_for_even_if_one_fails(context: TrialContext) -> None:
    trial = StudentTrial(task(5, 1, ((6, 2), (7, 3))), context)
    trial.advance()
    in_the_way = trial_folder(context.place, 6)
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    in_the_way.write_text("no folder")

    trial.advance()  # writes beside what comes next
    trial.close()

    assert checkpoint.load(trial_folder(context.place, 7) / CHECKPOINT_FILE)["curve"]
