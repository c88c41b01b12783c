"""A trial of two autoencoders: what is measured, trained, kept, resumed, tested and drawn."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from analysis.results import Confirmation, Latency, TrialResult
from search_spaces.cifar_blocks import SPACE as CLASSES
from search_spaces.pairs_autoencoder import SPACE
from search_spaces.space import ACCURACY, SpaceError
from study.class_task import class_data
from study.distillation.feasibility import InfeasibleError, Networks
from study.distillation.image_data import Augmentation
from study.distillation.pair_data import PairData, PairSplit
from study.distillation.pair_evaluation import ResidentPairs, mean_answer_psnr, score_pairs
from study.distillation.pair_training import PairTrainer
from study.student import build_student, load_student, measure
from study.task import task_of
from study.tracking.facts import final_metrics
from study.translations import TRANSLATIONS
from study.trial import StudentTrial
from study.trial_context import TrialContext, TrialTask

TASK = task_of(SPACE)


def make_pairs(count: int, seed: int) -> PairSplit:
    x = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return PairSplit(x, 255 - x)


@pytest.fixture
def context(tmp_path: Path) -> TrialContext:
    data = PairData(
        "noise", make_pairs(12, 0), make_pairs(5, 1), make_pairs(7, 2),
        Augmentation(pad=0, flip=True), "0", "made here",
    )  # fmt: skip
    return TrialContext(
        space=SPACE,
        data=data,
        reduced_rows={},
        teacher=None,
        teacher_ms=1.0,
        folder=str(tmp_path),
        epochs=2,
        views=2,
        seed=0,
        precision="float32",
        threads=1,
        on_gpu=False,
    )


def task(**overrides: Any) -> TrialTask:
    known = {"params_m": 0.1, "flops_m": 1.0, "bytes": 1}
    timing = {"median": 1.0, "p95": 1.0}
    ratio = {"median": 2.0, "low": 2.0, "high": 2.0}
    latency = Latency.from_json(
        {
            **{"device": "cpu", "threads": 1, "precision": "float32", "idle": True, "repeats": 8},
            **{"batch_1_ms": timing, "batch_64_ms": timing, "teacher_batch_1_ms": timing},
            **{"teacher_batch_64_ms": timing, "ratio_batch_1": ratio, "ratio_batch_64": ratio},
        }
    )
    params = SPACE.complete({"width": 8, "batch_size": 8, **overrides})
    return TrialTask(0, params, False, known, latency.to_json())


def finish(trial: StudentTrial) -> list[dict[str, Any]]:
    reports = [trial.advance()]
    while not reports[-1]["done"]:
        reports.append(trial.advance())
    return reports


def test_a_trial_trains_both_directions_and_is_scored_by_their_mean_psnr(
    context: TrialContext,
) -> None:
    reports = finish(StudentTrial(task(), context))

    assert [report["epoch"] for report in reports] == [0, 1, 2]
    assert isinstance(context.data, PairData)
    kept = load_student(context, 0)
    validation = ResidentPairs.of(context.data.validation, torch.device("cpu"))
    assert reports[-1]["val_score"] == pytest.approx(score_pairs(kept, validation).score)


def test_an_interrupted_trial_goes_on_with_the_very_same_steps(context: TrialContext) -> None:
    whole = finish(StudentTrial(task(adapter="conv"), context))[-1]["val_score"]
    elsewhere = replace(context, folder=f"{context.folder}/elsewhere")
    first = StudentTrial(task(adapter="conv"), elsewhere)
    for _ in range(2):
        first.advance()
    first.close()

    resumed = finish(StudentTrial(task(adapter="conv"), elsewhere))

    assert resumed[0]["epoch"] == 1
    assert resumed[-1]["val_score"] == whole


def test_runs_of_autoencoders_are_trained_one_by_one(context: TrialContext) -> None:
    first = finish(StudentTrial(task(), context))[-1]["val_score"]
    asked = replace(task(), number=1, partners=((2, 1),))
    reports = finish(StudentTrial(asked, replace(context, fuse="always")))

    assert reports[0]["together"]["runs"] == 1
    assert "autoencoders are trained one by one" in reports[0]["together"]["told"]
    assert reports[-1]["val_score"] == first


def test_one_autoencoder_is_measured_and_both_are_trained(context: TrialContext) -> None:
    student = build_student(context, SPACE.complete({"width": 8}))

    size, latency = measure(context, student, idle=False, seconds=0.1)

    both = sum(parameter.numel() for parameter in student.parameters()) / 1e6
    assert size.params_m == pytest.approx(both / 2)
    assert latency.batch_1_ms.median > 0
    trainer = TASK.trainer(student, task().params, context, 1)
    assert isinstance(trainer, PairTrainer)
    assert trainer.student is student


def test_the_test_split_gives_the_score_and_psnr_and_ssim_of_each_direction(
    context: TrialContext,
) -> None:
    student = build_student(context, SPACE.complete({"width": 8}))

    tested = TASK.test(student, context)

    values = {figure.label: figure.value for figure in tested.figures}
    assert list(values) == ["PSNR, X to Y", "PSNR, Y to X", "SSIM, X to Y", "SSIM, Y to X"]
    to_y, to_x = values["PSNR, X to Y"], values["PSNR, Y to X"]
    assert to_y is not None
    assert to_x is not None
    assert tested.score == pytest.approx((to_y + to_x) / 2)
    stored = Confirmation(tested.score, Latency.from_json(task().latency or {}), tested.figures)
    assert Confirmation.from_json(stored.to_json()) == stored


def test_the_floor_is_the_score_of_the_mean_training_image(context: TrialContext) -> None:
    assert isinstance(context.data, PairData)
    expected = mean_answer_psnr(context.data.train, context.data.validation)

    assert TASK.floor_score(SPACE, context.data) == expected
    with pytest.raises(SpaceError, match="pairs of images are scored by PSNR, not by accuracy"):
        TASK.floor_score(replace(SPACE, score=ACCURACY), context.data)


def test_connections_that_do_not_fit_are_refused_before_anything_is_trained() -> None:
    networks = Networks(SPACE.build_student, None, 0, (32, 32, 3), False)
    TASK.check_methods([("fits", params) for params in SPACE.samples()], networks)

    with pytest.raises(InfeasibleError, match="odd: encoder 1 and decoder 3 work at other scales"):
        TASK.check_methods([("odd", {"connections": "1-3", "alpha": 0.1})], networks)


def test_one_kind_of_data_is_not_taken_for_the_other(context: TrialContext) -> None:
    with pytest.raises(TypeError, match="noise has no classes"):
        class_data(context.data)
    with pytest.raises(TypeError, match=r"is a TranslatorPair .*, not a Linear"):
        TASK.measured(torch.nn.Linear(1, 1))
    assert task_of(CLASSES).measured(torch.nn.Linear(1, 1)) is not None


def test_predictions_are_drawn_beside_the_control_and_the_truth(context: TrialContext) -> None:
    trials = []
    for number, overrides in enumerate(({}, {"connections": "none"})):
        asked = replace(task(**overrides), number=number)
        finish(StudentTrial(asked, replace(context, epochs=1)))
        trials.append(
            TrialResult(number, "preset", None, asked.params, SPACE.describe(asked.params), 1)
        )

    to_y, to_x = (kind.draw(context, tuple(trials), None) for kind in TRANSLATIONS)

    titles = ["Predicted", "Without connections", "True X", "True Y"]
    assert [column.title for column in to_y.columns] == titles
    assert len(to_y.rows) == 6
    assert {len(row) for row in to_y.rows} == {4}
    assert all(cell.note.endswith(" dB") for row in to_x.rows for cell in row[:2])
    assert to_x.rows[0][0].png.content != to_y.rows[0][0].png.content
    assert to_x.rows[0][2:] == to_y.rows[0][2:]
    alone = TRANSLATIONS[0].draw(context, (trials[0],), None)
    assert [column.title for column in alone.columns] == ["Predicted", "True X", "True Y"]


def test_mlflow_is_told_each_figure_under_a_name_of_its_own(context: TrialContext) -> None:
    student = build_student(context, SPACE.complete({"width": 8}))
    tested = TASK.test(student, context)
    confirmed = Confirmation(tested.score, Latency.from_json(task().latency or {}), tested.figures)
    trial = TrialResult(0, "preset", None, task().params, "8-16-32-64", 1, confirmed=confirmed)

    metrics = final_metrics(trial)

    assert metrics["test_psnr_x_to_y"] == tested.figures[0].value
    assert metrics["test_ssim_y_to_x"] == tested.figures[3].value
